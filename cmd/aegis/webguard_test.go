package main

import (
	"crypto/tls"
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

// A certificate that the file takes for a moment only is good for that moment: neither on
// the connection that was made then nor by the session that began then does it get any
// further.
func TestCertificatesOfAnotherMoment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "mine")
	trusted := newAuthority(t, dir, "trusted")
	for _, name := range []string{"server", "prometheus", "other"} {
		trusted.issue(t, dir, name)
	}
	newAuthority(t, dir, "foreign").issue(t, dir, "stranger")
	const mutual = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: "
	use := func(file string) string { return writeFile(t, dir, "web.yml", mutual+file) }
	const asked = "trusted.pem\n  client_allowed_sans: [prometheus@example.org]\n"
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", use(asked))
	url := "https://" + p.awaitOutput(t, `msg=serving address=(\S+)`) + "/mine"
	known := httpsClient(t, dir, "prometheus")
	if got := fetchWith(t, known, url); got != "200 x 1\n" {
		t.Fatal(got)
	}
	if resp, err := httpsClient(t, dir, "other").Get(url); err == nil {
		t.Errorf("a certificate without an allowed name: %s", resp.Status)
	}

	for _, tt := range []struct{ file, certificate, then, says string }{
		{"trusted.pem\n", "other", "503 ", "none of the names under client_allowed_sans"},
		{"trusted.pem\n  client_allowed_sans: [other@example.org]\n", "other", "200 ", "none of the names under client_allowed_sans"},
		{"foreign.pem\n  client_allowed_sans: [stranger@example.org]\n", "stranger", "200 ", "without the client certificate"},
	} {
		use(tt.file)
		client := httpsClient(t, dir, tt.certificate)
		transport := client.Transport.(*http.Transport)
		transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if got := fetchWith(t, client, url); !strings.HasPrefix(got, tt.then) {
			t.Errorf("%s, while the file has %q: %s", tt.certificate, tt.file, got)
		}
		if got := fetchWith(t, known, url); strings.HasPrefix(got, "200 ") {
			t.Errorf("the connection of before, while the file has %q: %s", tt.file, got)
		}
		use(asked)
		if got := fetchWith(t, client, url); !strings.HasPrefix(got, "401 ") || !strings.Contains(got, tt.says) {
			t.Errorf("%s, over the connection made while the file had %q: %s", tt.certificate, tt.file, got)
		}
		transport.CloseIdleConnections()
		if resp, err := client.Get(url); err == nil { // The session is resumed, or there is no handshake.
			resp.Body.Close()
			if !resp.TLS.DidResume || resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s, by the session begun while the file had %q (resumed %v): %s", tt.certificate, tt.file, resp.TLS.DidResume, resp.Status)
			}
		} else if tt.certificate == "other" {
			t.Errorf("%s, by the session begun while the file had %q: %v; no test of that", tt.certificate, tt.file, err)
		}
		if got := fetchWith(t, known, url); got != "200 x 1\n" {
			t.Errorf("who has an allowed name, when the file is mended: %s", got)
		}
	}
	use("trusted.pem\n")
	p.cmd.Process.Signal(syscall.SIGHUP)
	p.awaitOutput(t, `(web\.yml has no client_allowed_sans any more)`)
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
