package web

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// A browser must show a line of text as text: some of them repeat what a client or a service
// sent.
func TestTextIsNotSniffed(t *testing.T) {
	a := start(t)
	a.service("fine", oneSample)
	a.service("forbidden", oneSample)
	a.stale("stale")
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	a.service("hanging", func(http.ResponseWriter, *http.Request) { <-hang })
	a.service("large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, strings.Repeat("x 1\n", limits.MaxBufferedBody))
	})
	a.setTargets(map[string]targetsfile.Target{
		"forbidden": {Allow: &targetsfile.Allow{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
	})
	check := func(request string, status int) {
		t.Helper()
		got, _ := a.send(request + "Connection: close\r\n\r\n")
		head, _, _ := strings.Cut(got, "\r\n\r\n")
		for _, want := range []string{
			fmt.Sprintf(" %d ", status), "\r\nContent-Type: text/plain", "\r\nX-Content-Type-Options: nosniff",
		} {
			if !strings.Contains(head, want) {
				t.Errorf("%q: %q is missing in\n%s", request, want, head)
			}
		}
	}
	const host = " HTTP/1.1\r\nHost: h\r\n"
	for path, status := range map[string]int{
		"/-/healthy": 200,
		"/-/ready":   200,
		"/?sort=x":   400,
		"/forbidden": 403,
		"/absent":    404,
		"/..":        404,
		"/-/nothing": 404,
		"/stale":     502,
	} {
		check("GET "+path+host, status)
	}
	check("POST /fine"+host, 405)
	check("POST /"+host, 405)
	check("GET /fine"+host+"Content-Length: 1\r\n", 400)
	check("GET /hanging"+host+"X-Prometheus-Scrape-Timeout-Seconds: 0.1\r\n", 504)
	check("GET /large HTTP/1.0\r\n", 505)
	remove(t, a.dir)
	check("GET /fine"+host, 503)
	check("GET /-/sd"+host, 503)
}

// What a service sends is printable and short in errors and in the log: a terminal obeys
// control characters, and text that runs backwards misleads its reader.
func TestServiceTextIsPrintable(t *testing.T) {
	const ok, plain = "HTTP/1.1 200 OK\r\n", "Content-Type: text/plain\r\n"
	for what, hostile := range map[string]string{
		"an escape sequence":          "\x1b]0;evil\x07",
		"an 8-bit escape":             "\u009b2Jevil",
		"bytes that are not UTF-8":    "evil\x9b\xff",
		"text that runs backwards":    "evil\u202elive",
		"a line separator":            "evil\u2028evil",
		"sixteen thousand characters": strings.Repeat("evil", 4000),
	} {
		a := start(t)
		for name, response := range map[string]string{
			"beginning": hostile + "\r\n\r\n",
			"version":   "HTTP/" + hostile + " 200 OK\r\n\r\n",
			"status":    "HTTP/1.1 200" + hostile + "\r\n\r\n",
			"reason":    "HTTP/1.1 500 " + hostile + "\r\nContent-Length: 0\r\n\r\n",
			"field":     ok + hostile + "\r\n\r\n",
			"type":      ok + "Content-Type: " + hostile + "\r\nContent-Length: 0\r\n\r\n",
			"charset":   ok + "Content-Type: text/html; charset=" + hostile + "\r\nContent-Length: 0\r\n\r\n",
			"length":    ok + "Content-Length: " + hostile + "\r\n\r\n",
			"transfer":  ok + "Transfer-Encoding: " + hostile + "\r\n\r\n",
			"encoding":  ok + plain + "Content-Encoding: " + hostile + "\r\n\r\nx",
			"location":  "HTTP/1.1 302 Found\r\nLocation: " + hostile + "\r\nContent-Length: 0\r\n\r\n",
			"chunk":     ok + plain + "Transfer-Encoding: chunked\r\n\r\n" + hostile + "\r\n",
			"extension": ok + plain + "Transfer-Encoding: chunked\r\n\r\n1;" + hostile + "\r\nx\r\n0\r\n\r\n",
			"trailer":   ok + plain + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + hostile + "\r\n\r\n",
		} {
			a.respond(name, response)
			got := a.get("/" + name)
			if got.StatusCode == 200 {
				continue // There is no error to be in.
			}
			line := strings.TrimSuffix(got.body, "\n")
			if got.StatusCode != 502 || !isPrintable(line) || len(line) > 500 {
				t.Errorf("%s in %s: %d, %d bytes: %.600q", what, name, got.StatusCode, len(line), line)
			}
		}
		for line := range strings.Lines(a.log.String()) {
			if line = strings.TrimSuffix(line, "\n"); !isPrintable(line) || len(line) > 1000 {
				t.Errorf("%s in the log, %d bytes: %.600q", what, len(line), line)
			}
		}
	}
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
