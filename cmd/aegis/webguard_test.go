package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// A file that does not ask for certificates any more lets nobody in, nor does one in
// whose absence a connection was made; what was asked for at the start is asked for.
func TestCertificatesStayAskedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	asked := recordingService(t, dir, "mine")
	trusted := newAuthority(t, dir, "trusted")
	trusted.issue(t, dir, "server")
	trusted.issue(t, dir, "prometheus")
	const (
		server = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
		mutual = server + "  client_ca_file: trusted.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
	)
	config := writeFile(t, dir, "web.yml", mutual)
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", config)
	url := "https://" + p.awaitOutput(t, `msg=serving address=(\S+)`) + "/mine"
	stranger, known := httpsClient(t, dir, ""), httpsClient(t, dir, "prometheus")
	if got := fetchWith(t, known, url); got != "200 x 1\n" {
		t.Fatal(got)
	}
	before := asked()

	for says, weak := range map[string]string{
		"does not have client_auth_type: RequireAndVerifyClientCert any more": server,
		"takes a client_ca_file": server + "  client_auth_type: RequireAndVerifyClientCert\n",
		"has no TLS any more":    "http_server_config: {headers: {X-Frame-Options: deny}}\n",
	} {
		writeFile(t, dir, "web.yml", weak)
		for _, client := range []*http.Client{stranger, known} {
			resp, err := client.Get(url)
			if err != nil {
				continue // There is no handshake.
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("a file that %s: %s", says, resp.Status)
			}
		}
		p.cmd.Process.Signal(syscall.SIGHUP)
		p.awaitOutput(t, `(reload failed, no scraper is served until the file is mended" error="[^"]*`+says+")")
	}
	writeFile(t, dir, "web.yml", server)
	stranger.CloseIdleConnections()
	if got := fetchWith(t, stranger, url); !strings.HasPrefix(got, "503 ") {
		t.Errorf("without a certificate, while none is asked for: %s", got)
	}
	writeFile(t, dir, "web.yml", mutual)
	if got := fetchWith(t, stranger, url); !strings.HasPrefix(got, "401 ") {
		t.Errorf("over the connection that was made then: %s", got)
	}
	if got := asked(); got != before {
		t.Errorf("the service was asked by those who were refused:\n%s", got)
	}
	if got := fetchWith(t, known, url); got != "200 x 1\n" {
		t.Errorf("when the file is mended: %s", got)
	}
}

// Who tries one password after the other neither finds one nor keeps those from being
// served who have one, from whichever address.
func TestPasswordFlood(t *testing.T) {
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	cost := bcrypt.DefaultCost
	if raceDetector() {
		cost = bcrypt.MinCost
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), cost)
	if err != nil {
		t.Fatal(err)
	}
	config := writeFile(t, dir, "web.yml", fmt.Sprintf("basic_auth_users: {prometheus: %q}\n", hash))
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", config)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	scrape := func(client *http.Client, password string) int {
		r, err := http.NewRequest(http.MethodGet, "http://"+addr+"/svc", nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		r.SetBasicAuth("prometheus", password)
		resp, err := client.Do(r)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
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
			client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
				DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%6))}}).DialContext,
			}}
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

// Handshakes that fail are no flood of the log.
func TestHandshakesThatFail(t *testing.T) {
	p, addr, _ := startWithTLS(t)
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		io.Copy(io.Discard, c)
		c.Close()
	}
	p.awaitOutput(t, "(a scraper's TLS handshake failed)")
	if n := strings.Count(string(p.output(t)), "TLS handshake"); n > 2 { // The message, and what it quotes.
		t.Errorf("20 of them are in the log %d times", n)
	}
}
