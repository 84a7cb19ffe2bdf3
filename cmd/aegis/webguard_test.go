package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/net/http2"

	"tulpa.dev/cadey/aegis/internal/limits"
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
		case <-time.After(limits.PasswordPatience / 2):
			t.Errorf("%s: no answer", what)
		}
	}

	impatient, hangUp := context.WithCancel(t.Context())
	gone := ask(impatient, "10.0.0.1:1", "open sesame")
	waitFor(t, "who hangs up", func() bool { return waiting() == 1 })
	hangUp()
	want("who hung up", gone, http.StatusTooManyRequests)

	var answers []chan int
	for i, address := range []string{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1"} {
		answers = append(answers, ask(t.Context(), address, "open sesame"))
		waitFor(t, address, func() bool { return waiting() == i+1 })
	}
	want("who has hung up already", ask(impatient, "10.0.0.1:3", "open sesame"), http.StatusTooManyRequests)
	want("a second password from an address", ask(t.Context(), "10.0.0.1:3", "another"), http.StatusTooManyRequests)
	other := ask(t.Context(), "10.0.0.3:1", "another")
	waitFor(t, "a wrong password", func() bool { return waiting() == len(answers)+1 })
	<-p.places
	for _, answer := range answers {
		want("the right password", answer, http.StatusOK)
	}
	want("a wrong password", other, http.StatusUnauthorized)
	if n := waiting() + len(p.trying) + len(p.places); n != limits.PasswordTries-1 {
		t.Errorf("%d remain, want %d", n, limits.PasswordTries-1)
	}

	p.places <- struct{}{}
	for range limits.PasswordJoined + 1 {
		ask(t.Context(), "10.0.0.1:1", "a third")
	}
	waitFor(t, "as many as may wait", func() bool { return waiting() == limits.PasswordJoined+1 })
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

func TestNeighbourhood(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1":              "192.0.2.1/32",
		"10.100.0.1:1":             "10.100.0.1/32",
		"[::ffff:192.0.2.1]:1":     "192.0.2.1/32",
		"[2001:db8:1:2:3::4]:1":    "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":         "fe80::/64",
		"[fda2:1:2:3:4::5]:1":      "fda2:1:2:3:4::5/128",
		"[fda2:1:2:3:4::5%eth0]:1": "fda2:1:2:3:4::5/128",
		"[::1]:1":                  "::/64",
		"@":                        "invalid Prefix",
	} {
		if got := neighbourhood(remote).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

// Over HTTP/2, who has no password cannot hold hundreds of requests on each connection by
// not letting their answers' bodies come.
func TestHTTP2Refusals(t *testing.T) {
	const connections, requests = 100, limits.StreamsPerClient
	dir := sampleFolder(t)
	newAuthority(t, dir, "trusted").issue(t, dir, "server")
	config := passwordFile(t, dir, bcrypt.MinCost)
	users, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "web.yml", string(users)+"tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", config)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	scraper := httpsClient(t, dir, "")
	scrape := func() bool {
		status, _ := getWithPassword(scraper, "https://"+addr+"/svc", "open sesame")
		return status == http.StatusOK
	}
	if !scrape() {
		t.Fatal("no scrape at all")
	}
	_, resident := taken(t, p)

	var flood sync.WaitGroup
	for range connections {
		c, err := dialHTTP2(addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.conn.Close()
		// No body may come; and each head is to be read by itself.
		c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		flood.Go(func() {
			for range requests {
				if err := c.request("h", "/svc"); err != nil {
					t.Error(err)
					return
				}
			}
			for refused := 0; refused < requests; {
				switch status := c.status(); status {
				case "401":
					refused++
				case "refused": // after that, as its body was not let come
				default:
					t.Errorf("the answer to request %d: %s", refused, status)
					return
				}
			}
		})
	}
	took := slowest(t, scrape)
	flood.Wait()
	goroutines := func() int {
		_, metrics := getWithPassword(scraper, "https://"+addr+"/metrics", "open sesame")
		_, after, _ := strings.Cut(metrics, "\ngo_goroutines ")
		number, _, _ := strings.Cut(after, "\n")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	waitFor(t, "the end of the refused requests", func() bool { return goroutines() < 3*connections+limits.Refusals+50 })
	waitFor(t, "a refusal with its reason", func() bool {
		_, why := getWithPassword(scraper, "https://"+addr+"/svc", "sesame")
		return why != ""
	})
	_, now := taken(t, p)
	t.Logf("%.0f MiB resident, before it were %.0f; p99 of a scraper with the password: %v", now, resident, took)
	if now > resident+room() {
		t.Errorf("%.0f MiB resident, before it were %.0f", now, resident)
	}
	if took > patience() {
		t.Errorf("a scraper with the password waited %v in the 99th of a hundred cases", took)
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
