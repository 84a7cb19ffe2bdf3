package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Who tries one password after the other neither finds one nor keeps those from being
// served who have one, from whichever address.
func TestPasswordFlood(t *testing.T) {
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	cost := bcrypt.DefaultCost
	if raceDetector() {
		cost = bcrypt.MinCost
	}
	p, url := startWithPassword(t, dir, cost)
	scrape := func(client *http.Client, password string) int {
		status, _ := getWithPassword(client, url+"/svc", password)
		return status
	}
	good := &http.Client{Timeout: 10 * time.Second}
	var first sync.WaitGroup
	for range 10 { // As Prometheus begins with all its targets.
		first.Go(func() {
			if got := scrape(good, "open sesame"); got != http.StatusOK {
				t.Errorf("one of the first scrapes: %d", got)
			}
		})
	}
	first.Wait()

	stop := make(chan struct{})
	var flood sync.WaitGroup
	var mu sync.Mutex
	answers := make(map[int]int)
	for i := range 24 {
		flood.Go(func() {
			client := clientFrom(net.IPv4(127, 0, 0, byte(1+i%6)))
			defer client.CloseIdleConnections()
			for n := 0; !isClosed(stop); n++ {
				status := scrape(client, fmt.Sprintf("%d, %d", i, n))
				mu.Lock()
				answers[status]++
				mu.Unlock()
				time.Sleep(5 * time.Millisecond) // What the flood takes of the machine is not to be measured.
			}
		})
	}
	took := slowest(t, func() bool { return scrape(good, "open sesame") == http.StatusOK })
	close(stop)
	flood.Wait()
	t.Logf("answers to wrong passwords: %v; p99 of who has the right one: %v", answers, took)
	if took > patience() {
		t.Errorf("who has the right password waited %v in the 99th of a hundred cases", took)
	}
	if answers[http.StatusOK] > 0 || answers[http.StatusUnauthorized] == 0 || answers[http.StatusTooManyRequests] == 0 {
		t.Errorf("answers to wrong passwords: %v; want 401 and 429 only", answers)
	}
	log, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "a scraper has no right password"); n != 1 {
		t.Errorf("wrong passwords are in %d lines of the log, want 1", n)
	}
}

// While many addresses guess, who has the right password gets in though that is not known
// yet: it is hashed in turn.
func TestPasswordFloodAtTheStart(t *testing.T) {
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	cost := bcrypt.DefaultCost // So much work that the flood lasts for longer than the test.
	if raceDetector() {
		cost -= 3
	}
	_, url := startWithPassword(t, dir, cost)
	stop := make(chan struct{})
	var flood sync.WaitGroup
	var tried atomic.Int32
	for i := range 40 {
		flood.Go(func() {
			client := clientFrom(net.IPv4(127, 0, 0, byte(2+i)))
			defer client.CloseIdleConnections()
			for n := 0; !isClosed(stop); n++ {
				if status, _ := getWithPassword(client, url, fmt.Sprintf("%d, %d", i, n)); status == http.StatusUnauthorized {
					tried.Add(1)
				}
			}
		})
	}
	defer flood.Wait()
	defer close(stop)
	waitFor(t, "the flood", func() bool { return tried.Load() > 10 })
	victim := clientFrom(net.IPv4(127, 0, 0, 100))
	defer victim.CloseIdleConnections()
	var answers []int
	for range 2 {
		status, _ := getWithPassword(victim, url+"/svc", "open sesame")
		answers = append(answers, status)
	}
	if !slices.Contains(answers, http.StatusOK) {
		t.Errorf("answers to the right password: %v", answers)
	}
}

// clientFrom is a client with this address.
func clientFrom(ip net.IP) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}}).DialContext,
	}}
}

// startWithPassword starts Aegis before dir, with a passwordFile.
func startWithPassword(t *testing.T, dir string, cost int) (p *program, url string) {
	t.Helper()
	p = start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", passwordFile(t, dir, cost))
	return p, "http://" + p.awaitOutput(t, `msg=serving address=(\S+)`)
}

// getWithPassword returns status and body of a GET, 0 if there is no answer.
func getWithPassword(client *http.Client, url, password string) (status int, body string) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	r.SetBasicAuth("prometheus", password)
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

// A password that is not known yet waits in turn, once for each address; requests with
// the same wait for that, and for as long as they like to.
func TestPasswordsInTurn(t *testing.T) {
	t.Parallel()
	p := newPasswords(slog.New(slog.DiscardHandler))
	users := hashes(t, map[string]int{"prometheus": bcrypt.MinCost})
	for range cap(p.places) {
		p.places <- struct{}{}
	}
	ask := func(ctx context.Context, address, password string) (status chan int) {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		r.RemoteAddr = address
		r.SetBasicAuth("prometheus", password)
		status = make(chan int, 1)
		go func() { status <- p.status(r, users) }()
		return status
	}
	waiting := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.tries) + int(p.joined.Load())
	}

	want := func(what string, answer chan int, status int) {
		t.Helper()
		select {
		case got := <-answer:
			if got != status {
				t.Errorf("%s: %d, want %d", what, got, status)
			}
		case <-time.After(limits.PasswordQueueTimeout / 2):
			t.Errorf("%s: no answer", what)
		}
	}

	// Who is first hangs up; the others are answered all the same.
	impatient, hangUp := context.WithCancel(t.Context())
	answers := []chan int{ask(impatient, "10.0.0.1:1", "open sesame")}
	waitFor(t, "the first", func() bool { return waiting() == 1 })
	hangUp()
	for i, address := range []string{"10.0.0.1:2", "10.0.0.2:1"} {
		answers = append(answers, ask(t.Context(), address, "open sesame"))
		waitFor(t, address, func() bool { return waiting() == i+2 })
	}
	want("who waits for it no more", ask(impatient, "10.0.0.1:3", "open sesame"), http.StatusTooManyRequests)
	want("a second password from an address", ask(t.Context(), "10.0.0.1:3", "another"), http.StatusTooManyRequests)
	other := ask(t.Context(), "10.0.0.3:1", "another")
	waitFor(t, "a wrong password", func() bool { return waiting() == len(answers)+1 })
	<-p.places
	for _, answer := range answers {
		want("the right password", answer, http.StatusOK)
	}
	want("a wrong password", other, http.StatusUnauthorized)
	if n := waiting() + len(p.trying) + len(p.places); n != limits.MaxConcurrentBcrypt-1 {
		t.Errorf("%d remain, want %d", n, limits.MaxConcurrentBcrypt-1)
	}

	p.places <- struct{}{}
	for range limits.MaxPasswordWaiters + 1 {
		ask(t.Context(), "10.0.0.1:1", "a third")
	}
	waitFor(t, "as many as may wait", func() bool { return waiting() == limits.MaxPasswordWaiters+1 })
	want("one more with the same password", ask(t.Context(), "10.0.0.2:1", "a third"), http.StatusTooManyRequests)
	want("a password that is known", ask(t.Context(), "10.0.0.2:1", "open sesame"), http.StatusOK)
	<-p.places
	waitFor(t, "the others", func() bool { return waiting() == 0 })
}

// Who tries a user whom there is not waits as long as for one whom there is, and finds
// nothing, whatever the password.
func TestPasswordOfAnUnknownUser(t *testing.T) {
	t.Parallel()
	users := hashes(t, map[string]int{"cheap": bcrypt.MinCost, "dear": 10, "middling": 6})
	if hash, known := hashOf("nobody", users); known || hash != string(users.Users["dear"]) {
		t.Errorf("nobody: %s, %v; want the hash that costs most, %s", hash, known, users.Users["dear"])
	}
	if hash, known := hashOf("cheap", users); !known || hash != string(users.Users["cheap"]) {
		t.Errorf("cheap: %s, %v", hash, known)
	}
	p := newPasswords(slog.New(slog.DiscardHandler))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth("nobody", "open sesame")
	begin := time.Now()
	if got := p.status(r, users); got != http.StatusUnauthorized {
		t.Errorf("nobody, with the password of another: %d", got)
	}
	if took := time.Since(begin); took < 5*time.Millisecond { // No processor hashes as fast.
		t.Errorf("nobody was refused in %v: nothing was hashed", took)
	}
	users.Users["nobody"] = users.Users["dear"]
	if got := p.status(r, users); got != http.StatusOK {
		t.Errorf("a user who is new, with the hash of another: %d", got)
	}
}

// hashes is a file where each of these users has the password "open sesame", with a hash
// of that cost.
func hashes(t *testing.T, costs map[string]int) (c exporterweb.Config) {
	t.Helper()
	text := "basic_auth_users:\n"
	for user, cost := range costs {
		hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), cost)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("  %s: %q\n", user, hash)
	}
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}
