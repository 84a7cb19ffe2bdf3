package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

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

// Over HTTP/2, who has no password cannot hold hundreds of requests on each connection by
// not letting their answers' bodies come.
func TestHTTP2Refusals(t *testing.T) {
	const connections, requests = 100, limits.MaxStreamsPerConn
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
			refused, ended := 0, map[uint32]bool{}
			for len(ended) < requests {
				stream, status := c.answer()
				switch status {
				case "401":
					refused++
				case "refused": // The body was not let come, or for so long that there was no time for a head.
				default:
					t.Errorf("%d of %d requests have ended, then: %s", len(ended), requests, status)
					return
				}
				ended[stream] = true
			}
			if refused < requests/2 {
				t.Errorf("%d of %d requests were answered, the others ended without a status", refused, requests)
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

// Handshakes that fail are no flood of the log, nor are connections over HTTP/2.
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
	for range 20 {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		io.Copy(io.Discard, c)
		c.Close()
	}
	p.awaitOutput(t, "(a scraper's connection over HTTP/2 failed)")
	for _, what := range []string{"TLS handshake", "HTTP/2 failed"} {
		if n := strings.Count(string(p.output(t)), what); n > 2 { // The message, and what it quotes.
			t.Errorf("20 times %q are in the log %d times", what, n)
		}
	}
}
