package web

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// No browser may take a line of text for anything else: some of these lines repeat what a
// stranger wrote.
func TestTextIsNotSniffed(t *testing.T) {
	a := start(t)
	a.service("fine", fine)
	a.stale("stale")
	a.service("broken", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 500) })
	hang := make(chan struct{})
	defer close(hang)
	a.service("hanging", func(w http.ResponseWriter, r *http.Request) { <-hang })
	a.service("large", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, strings.Repeat("x 1\n", limits.MaxBufferedBody))
	})
	a.service("forbidden", fine)
	a.use(map[string]targetsfile.Target{
		"forbidden": {Allow: &targetsfile.Allow{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
	})
	check := func(request string, status int) {
		t.Helper()
		got, _ := a.send(request + "Connection: close\r\n\r\n")
		head, _, _ := strings.Cut(got, "\r\n\r\n")
		for _, want := range []string{fmt.Sprintf(" %d ", status), "\r\nContent-Type: text/plain", "\r\nX-Content-Type-Options: nosniff"} {
			if !strings.Contains(head, want) {
				t.Errorf("%q: the head of the response lacks %q:\n%s", request, want, head)
			}
		}
	}
	const host = " HTTP/1.1\r\nHost: h\r\n"
	for path, status := range map[string]int{
		"/-/healthy": 200,
		"/-/ready":   200,
		"/forbidden": 403,
		"/absent":    404,
		"/..":        404,
		"/-/nothing": 404,
		"/stale":     502,
		"/broken":    502,
	} {
		check("GET "+path+host, status)
	}
	check("POST /fine"+host, 405)
	check("POST /"+host, 405)
	check("GET /fine"+host+"Content-Length: 1\r\n", 400)
	check("GET /hanging"+host+"X-Prometheus-Scrape-Timeout-Seconds: 0.1\r\n", 504)
	check("GET /large HTTP/1.0\r\n", 505)
	for range limits.MaxPages {
		a.pages <- struct{}{}
	}
	check("GET /"+host, 503)
	mustRemove(t, a.dir)
	check("GET /fine"+host, 503)
}
