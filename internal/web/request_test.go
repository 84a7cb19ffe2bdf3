package web

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

func TestPaths(t *testing.T) {
	a := start(t)
	var scraped atomic.Int32
	a.service("svc", func(w http.ResponseWriter, r *http.Request) { scraped.Add(1); oneSample(w, r) })
	sub := filepath.Join(a.dir, "sub")
	os.Mkdir(sub, 0o700)
	os.Link(a.socket("svc"), filepath.Join(sub, "svc.sock"))
	os.Link(a.socket("svc"), a.socket(".hidden"))

	for _, tt := range []struct {
		target string
		status int
	}{
		{"/svc", 200},
		{"/svc?x=/../y", 200},
		{"/%73vc", 200},
		{"http://anything/svc", 200},

		{"//svc", 404},
		{"/svc/", 404},
		{"/svc/metrics", 404},
		{"/./svc", 404},
		{"/sub/svc", 404},
		{"/sub%2fsvc", 404},
		{"/sub/../svc", 404},
		{"/%2e%2e/svc", 404},
		{"/..%2fsvc", 404},
		{"/svc%00", 404},
		{"/svc%00.sock", 404},
		{"/%2573vc", 404},
		{"/svc.sock", 404},
		{"/.hidden", 404},
		{"/svc%20", 404},
		{"/svc%0a", 404},
		{"/svc;x", 404},
		{"/-/nothing", 404},
		{"svc", 400},
		{"/svc%zz", 400},
	} {
		before := scraped.Load()
		got, err := a.send("GET " + tt.target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) {
			t.Errorf("%s: %.60q, %v; want %d", tt.target, got, err, tt.status)
		}
		if want := tt.status == 200; (scraped.Load() > before) != want {
			t.Errorf("%s: scraped %v, want %v", tt.target, !want, want)
		}
	}
}

func TestMethods(t *testing.T) {
	a := start(t)
	a.service("svc", func(w http.ResponseWriter, r *http.Request) { t.Errorf("the service received %s", r.Method) })
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"} {
		for _, path := range []string{"/svc", "/", "/metrics", "/absent"} {
			got, _ := a.send(method + " " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 405 ") || !strings.Contains(got, "\r\nAllow: GET, HEAD\r\n") {
				t.Errorf("%s %s: %.200q, want 405 with Allow", method, path, got)
			}
		}
	}
	if got, _ := a.send("OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 405 ") {
		t.Errorf("OPTIONS *: %.60q, want 405", got)
	}
}

// Aegis refuses a body, and waits for none that is announced.
func TestRequestBodyIsRefused(t *testing.T) {
	a := start(t)
	a.service("svc", func(http.ResponseWriter, *http.Request) { t.Error("the service was scraped") })
	for _, tt := range []struct{ request, want string }{
		{"GET /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", "400"},
		{"GET /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", "400"},
		{"GET /svc HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
		{"GET /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nGET /svc HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"POST /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", "405"},
	} {
		got, err := a.send(tt.request)
		if !strings.HasPrefix(got, "HTTP/1.1 "+tt.want+" ") || strings.Count(got, "HTTP/1.1") != 1 {
			t.Errorf("%q: %q, %v; want one response, %s", tt.request, got, err, tt.want)
		}
	}
}

// Aegis' own pages hide no name but the reserved one.
func TestReservedName(t *testing.T) {
	for path := range start(t).routes {
		if name := path[1:]; socketdir.ValidName(name) != (name == targetsfile.ReservedName) {
			t.Errorf("%s hides the name %q, reserved is %q", path, name, targetsfile.ReservedName)
		}
	}
}

func TestHealth(t *testing.T) {
	a := start(t)
	remove(t, a.dir)
	for _, path := range []string{"/-/healthy", "/-/ready"} {
		if got := a.get(path); got.StatusCode != 200 {
			t.Errorf("%s: %d, want 200", path, got.StatusCode)
		}
	}
	if err := a.Alive(); err != nil {
		t.Error(err)
	}
}

// A host that is more than one word of a header is refused, though net/http accepts it in a request target.
func TestHostWithSpaces(t *testing.T) {
	a := start(t)
	a.service("svc", oneSample)
	for _, path := range []string{"/-/sd", "/svc"} {
		got, err := a.send("GET http://[fe80::1%25%20X:%20y]" + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if err != nil || !strings.Contains(got, " 400 ") {
			t.Errorf("%s: %v, %.100q; want status 400", path, err, got)
		}
	}
}
