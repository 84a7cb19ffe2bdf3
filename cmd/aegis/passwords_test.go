package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// rightPassword is that of the user prometheus in all tests.
const rightPassword = "open sesame"

// TestPasswords has a real Prometheus find and scrape a service with a password. Clients
// with none or a wrong one get nowhere, and the service never sees any.
func TestPasswords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	requests := recordingService(t, dir, "mine")
	_, addr := startWithPassword(t, dir, bcrypt.MinCost)

	for name, user := range map[string][2]string{
		"no password": {}, "a wrong password": {"prometheus", "sesame"}, "an unknown user": {"root", rightPassword},
	} {
		for _, route := range allRoutes {
			if got, _ := getAs(http.DefaultClient, "http://"+addr+route, user[0], user[1]); got != http.StatusUnauthorized {
				t.Errorf("%s: GET %s: %d, want 401", name, route, got)
			}
		}
	}
	if got := requests(); len(got) > 0 {
		t.Errorf("the service got requests of clients that were refused:\n%s", got)
	}

	scrapedBy(t, addr, "http", fmt.Sprintf("basic_auth: {username: prometheus, password: %q}", rightPassword))
	if got := requests(); got == "" || strings.Contains(got, "Authorization") {
		t.Errorf("the service got requests with\n%s\nwant no credentials", got)
	}
}

// A client without a password cannot hold a connection with a body that it never sends.
func TestBodyWithoutAPassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, addr := startWithPassword(t, dir, bcrypt.MinCost)
	c := dial(t, addr)
	io.WriteString(c, "POST /mine HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx")
	c.SetDeadline(time.Now().Add(limits.ReadHeaderTimeout / 2)) // Aegis would wait longer for a body.
	response, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(response), "HTTP/1.1 401 ") {
		t.Errorf("%q, %v; want 401 and the end of the connection", response, err)
	}
}

// A client that tries one password after another finds none. It does not keep clients with
// the right password from being served, from its own address or another.
func TestPasswordFlood(t *testing.T) {
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	p, addr := startWithPassword(t, dir, hashCost())
	url := "http://" + addr + "/svc"
	scraper := &http.Client{Timeout: 30 * time.Second}
	scrape := func() bool {
		status, _ := getAs(scraper, url, "prometheus", rightPassword)
		return status == http.StatusOK
	}
	var first sync.WaitGroup
	for range 10 { // Prometheus starts with scrapes of all its targets.
		first.Go(func() {
			if !scrape() {
				t.Error("one of the first scrapes failed")
			}
		})
	}
	first.Wait()

	statuses := newTally()
	stop := flood(24, func(i, n int) {
		client := clientFrom(net.IPv4(127, 0, 0, byte(1+i%6)))
		defer client.CloseIdleConnections()
		status, _ := getAs(client, url, "prometheus", fmt.Sprintf("%d, %d", i, n))
		statuses.add(status)
		time.Sleep(5 * time.Millisecond) // so that the flood leaves the processor to Aegis
	})
	checkNeighbour(t, dir, scrape)
	waitFor(t, "both refusals", func() bool {
		return statuses.count(http.StatusUnauthorized) > 0 && statuses.count(http.StatusTooManyRequests) > 0
	})
	stop()
	if statuses.count(http.StatusOK) > 0 {
		t.Error("a wrong password got a scrape")
	}
	if n := strings.Count(string(p.output(t)), "wrong user or password"); n != 1 {
		t.Errorf("wrong passwords are in %d lines of the log, want 1", n)
	}
}

// A client with the right password gets in while many addresses guess, although Aegis has
// not seen that password before.
func TestPasswordFloodAtTheStart(t *testing.T) {
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	_, addr := startWithPassword(t, dir, hashCost())
	url := "http://" + addr + "/svc"
	var refused atomic.Int32
	stop := flood(40, func(i, n int) {
		client := clientFrom(net.IPv4(127, 0, 0, byte(2+i)))
		defer client.CloseIdleConnections()
		if status, _ := getAs(client, url, "prometheus", fmt.Sprintf("%d, %d", i, n)); status == http.StatusUnauthorized {
			refused.Add(1)
		}
	})
	defer stop()
	waitFor(t, "the flood", func() bool { return refused.Load() > 10 })
	victim := clientFrom(net.IPv4(127, 0, 0, 100))
	defer victim.CloseIdleConnections()
	var statuses []int
	for range 2 {
		status, _ := getAs(victim, url, "prometheus", rightPassword)
		statuses = append(statuses, status)
	}
	if !slices.Contains(statuses, http.StatusOK) {
		t.Errorf("responses to the right password: %v", statuses)
	}
}

// hashCost returns the cost of hashes that keep the processor busy.
func hashCost() int {
	if raceDetector() {
		return bcrypt.DefaultCost - 3
	}
	return bcrypt.DefaultCost
}

// flood calls attack in n goroutines, with their number and the number of the call, until
// stop is called.
func flood(n int, attack func(i, n int)) (stop func()) {
	stopped := make(chan struct{})
	var attackers sync.WaitGroup
	for i := range n {
		attackers.Go(func() {
			for n := 0; !isClosed(stopped); n++ {
				attack(i, n)
			}
		})
	}
	return func() {
		close(stopped)
		attackers.Wait()
	}
}

// tally counts statuses.
type tally struct {
	mu     sync.Mutex
	counts map[int]int
}

func newTally() *tally { return &tally{counts: make(map[int]int)} }

func (s *tally) add(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[status]++
}

func (s *tally) count(status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[status]
}

// clientFrom returns a client whose address is ip.
func clientFrom(ip net.IP) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: dialerFrom(ip).DialContext}}
}

func dialerFrom(ip net.IP) *net.Dialer { return &net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}} }

// startWithPassword starts aegis for the sockets in dir with passwordFile.
func startWithPassword(t *testing.T, dir string, cost int) (p *program, addr string) {
	t.Helper()
	return startAegis(t, dir, "-web.config.file", writeFile(t, dir, "web.yml", passwordFile(t, cost)))
}

// passwordFile returns a web file with rightPassword, hashed at cost.
func passwordFile(t *testing.T, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(rightPassword), cost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("basic_auth_users: {prometheus: %q}\n", hash)
}

// getAs returns the status and body of a GET with a password, or without if user is empty.
// The status is 0 if there is no complete response.
func getAs(client *http.Client, url, user, password string) (status int, body string) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}
