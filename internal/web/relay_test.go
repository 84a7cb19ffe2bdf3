package web

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/target"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

func TestRelay(t *testing.T) {
	a := start(t)
	type request struct {
		line   string
		header http.Header
		body   string
	}
	requests := make(chan request, 1)
	a.service("worker@1", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- request{r.Method + " " + r.RequestURI, r.Header, string(body)}
		h := w.Header()
		h.Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
		h.Set("Content-Encoding", "gzip")
		h.Set("Set-Cookie", "session=1")
		h.Set("Server", "secret/1")
		h.Set("Location", "http://elsewhere/")
		h.Set("X-Powered-By", "steam")
		io.WriteString(w, "\x1f\x8b\x00binary")
	})
	got := a.get("/worker@1?name[]=x&name[]=y;z",
		"Accept", "application/openmetrics-text", "Accept-Encoding", "gzip", "User-Agent", "Prometheus/3",
		"X-Prometheus-Scrape-Timeout-Seconds", "5", "Authorization", "Bearer secret", "Cookie", "a=b", "X-Forwarded-For", "1.2.3.4")

	if got.StatusCode != 200 || got.body != "\x1f\x8b\x00binary" {
		t.Errorf("status %d, body %q", got.StatusCode, got.body)
	}
	got.Header.Del("Date") // Aegis' own
	want := http.Header{
		"Content-Type":     {"application/openmetrics-text; version=1.0.0; charset=utf-8"},
		"Content-Encoding": {"gzip"},
		"Content-Length":   {"9"},
	}
	if fmt.Sprint(got.Header) != fmt.Sprint(want) {
		t.Errorf("header to the scraper %v, want %v", got.Header, want)
	}
	req := <-requests
	if req.line != "GET /metrics?name[]=x&name[]=y;z" || req.body != "" {
		t.Errorf("the service received %q with body %q", req.line, req.body)
	}
	wantHeader := http.Header{
		"Accept": {"application/openmetrics-text"}, "Accept-Encoding": {"gzip"},
		"User-Agent": {"Prometheus/3"}, "X-Prometheus-Scrape-Timeout-Seconds": {"5"},
	}
	if fmt.Sprint(req.header) != fmt.Sprint(wantHeader) {
		t.Errorf("header to the service %v, want %v", req.header, wantHeader)
	}
}

func TestHead(t *testing.T) {
	a := start(t)
	methods := make(chan string, 2)
	body := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+5)
	a.service("large", func(w http.ResponseWriter, r *http.Request) {
		methods <- r.Method
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, body)
	})
	a.respond("cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx 1\n")
	got := a.do("HEAD", "/large")
	if got.StatusCode != 200 || got.ContentLength != int64(len(body)) || <-methods != "GET" {
		t.Errorf("HEAD: status %d, length %d; want 200, %d", got.StatusCode, got.ContentLength, len(body))
	}
	a.respond("large-cut", "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"+body)
	for _, name := range []string{"cut", "large-cut"} {
		if got := a.do("HEAD", "/"+name); got.StatusCode != 502 {
			t.Errorf("HEAD of %s: %d, want 502", name, got.StatusCode)
		}
	}
}

// TestFailures makes each failure that a scraper can see.
func TestFailures(t *testing.T) {
	a := start(t)
	a.service("fine", oneSample)
	a.service("metrics", oneSample)
	a.stale("stale")
	os.Symlink("fine.sock", a.socket("link"))
	os.WriteFile(a.socket("file"), nil, 0o600)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	a.service("hanging", func(w http.ResponseWriter, r *http.Request) { <-hang })
	a.respond("ssh", "SSH-2.0-OpenSSH\r\n")
	a.respond("cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx 1\n")
	a.respond("silent", "")
	a.respond("tls", "\x15\x03\x01\x00\x02\x02\x46")
	l, err := net.Listen("unix", a.socket("https"))
	if err != nil {
		t.Fatal(err)
	}
	https := &httptest.Server{Listener: l, Config: &http.Server{ErrorLog: log.New(io.Discard, "", 0)}}
	https.StartTLS()
	t.Cleanup(https.Close)
	a.service("broken", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "oh no", 500) })
	a.service("page", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") })
	a.service("api", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	})

	for _, tt := range []struct {
		name   string
		status int
		result target.Result
		text   string // in the response
	}{
		{"absent", 404, target.NotFound, a.socket("absent")},
		{"..", 404, target.NotFound, `"..": `},
		{"..%2fa", 404, target.NotFound, "; a name has no slash"},
		{"fine/metrics", 404, target.NotFound, "; use /fine, Aegis adds /metrics itself"},
		{"fine.sock", 404, target.NotFound, "; the name is fine, without .sock"},
		{"metrics/fine", 404, target.NotFound, "; use /fine, Aegis adds /metrics itself"},
		{"metrics.sock", 404, target.NotFound, "let its service use another name"},
		{"-/targets", 404, target.NotFound, "; Aegis' own pages are"},
		{"link", 502, target.NotSocket, a.socket("link")},
		{"file", 502, target.NotSocket, a.socket("file")},
		{"stale", 502, target.Refused, a.socket("stale")},
		{"hanging", 504, target.Timeout, "scrape_timeout"},
		{"ssh", 502, target.Invalid, "speaks SSH"},
		{"tls", 502, target.Invalid, "TLS"},
		{"https", 502, target.Status, "TLS"},
		{"cut", 502, target.Truncated, "42 bytes"},
		{"silent", 502, target.Truncated, "TLS"},
		{"broken", 502, target.Status, "500 Internal Server Error"},
		{"page", 502, target.NotMetrics, "text/html"},
		{"api", 502, target.NotMetrics, "application/json"},
	} {
		timeout := "10"
		if tt.result == target.Timeout {
			timeout = "0.1"
		}
		got := a.get("/"+tt.name, "X-Prometheus-Scrape-Timeout-Seconds", timeout)
		if got.StatusCode != tt.status || !strings.Contains(got.body, tt.text) {
			t.Errorf("%s: %d %q, want %d and %q", tt.name, got.StatusCode, got.body, tt.status, tt.text)
		}
		if strings.Count(got.body, "\n") != 1 || got.Header.Get("Content-Type") != "text/plain; charset=utf-8" || got.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %q with header %v is not one line of text", tt.name, got.body, got.Header)
		}
		if tt.result != target.NotFound && tt.result != target.NotSocket {
			a.waitForScrapes(1, tt.name, tt.result)
		} else if count := a.scrapes(tt.name, tt.result); count != "" {
			t.Errorf("%s: no socket, but counted %s times as %s", tt.name, count, tt.result)
		}
	}
	eventually(t, "10 requests for unknown targets", func() bool { return a.metric("aegis_unknown_target_requests_total") == "10" })

	remove(t, a.dir)
	if got := a.get("/fine"); got.StatusCode != 503 || !strings.Contains(got.body, a.dir) {
		t.Errorf("without the directory: %d %q", got.StatusCode, got.body)
	}
	a.waitForScrapes(1, "fine", target.NoDirectory)
}

// The scrape beyond limits.MaxScrapesPerTarget fails at once, and no other does.
func TestBusy(t *testing.T) {
	a := start(t)
	hang := make(chan struct{})
	var inFlight atomic.Int32
	a.service("slow", func(w http.ResponseWriter, r *http.Request) {
		inFlight.Add(1)
		<-hang
		oneSample(w, r)
	})
	done := make(chan int, limits.MaxScrapesPerTarget)
	for range limits.MaxScrapesPerTarget {
		go func() {
			resp, err := http.Get("http://" + a.addr + "/slow")
			if err != nil {
				done <- 0
				return
			}
			resp.Body.Close()
			done <- resp.StatusCode
		}()
	}
	eventually(t, "scrapes in flight", func() bool { return inFlight.Load() == limits.MaxScrapesPerTarget })
	got := a.get("/slow")
	if got.StatusCode != 503 || got.Header.Get("Retry-After") != "1" || !strings.Contains(got.body, "16 scrapes of it are in flight") {
		t.Errorf("beyond the limit: %d, Retry-After %q, %q", got.StatusCode, got.Header.Get("Retry-After"), got.body)
	}
	close(hang)
	for range limits.MaxScrapesPerTarget {
		if status := <-done; status != 200 {
			t.Errorf("below the limit: %d, want 200", status)
		}
	}
}

func TestTargetsFile(t *testing.T) {
	a := start(t)
	elsewhere := t.TempDir()
	large := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+1000)
	a.service("billing", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "path{p=%q} 1\n", r.URL.RequestURI())
	})
	a.service("slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	a.service("plain", oneSample)
	a.service("secret", oneSample)
	a.service("moved", func(http.ResponseWriter, *http.Request) { t.Error("the socket in the directory was scraped") })
	for name, response := range map[string]string{
		"moved": "moved 1\n", "large": large, "silent": "", "page": "<html>",
		"http": "HTTP/1.1 400 Bad Request\r\n\r\nno request\n",
	} {
		a.accept(filepath.Join(elsewhere, name), func(c net.Conn) { io.WriteString(c, response) })
	}
	os.Symlink("moved", filepath.Join(elsewhere, "link"))
	targets := map[string]targetsfile.Target{
		"billing": {Path: "/internal/metrics"},
		"slow":    {Timeout: 50 * time.Millisecond},
		"secret":  {Disabled: true},
	}
	for _, name := range []string{"moved", "large", "silent", "page", "http", "link", "absent"} {
		targets[name] = targetsfile.Target{Socket: filepath.Join(elsewhere, name), Protocol: scrape.Raw}
	}
	a.setTargets(targets)
	for _, tt := range []struct {
		path   string
		status int
		text   string
	}{
		{"/billing?a=b", 200, "path{p=\"/internal/metrics?a=b\"} 1\n"},
		{"/plain", 200, "x 1\n"},
		{"/moved", 200, "moved 1\n"},
		{"/large", 200, large},
		{"/slow", 504, "raise its timeout in the targets file"},
		{"/http", 502, "protocol: raw"},
		{"/secret", 404, "disables it"},
		{"/silent", 502, "before its metrics"},
		{"/page", 502, "HTML"},
		{"/link", 502, elsewhere + "/link"},
		{"/absent", 404, elsewhere + "/absent"},
	} {
		got := a.get(tt.path)
		matches := got.body == tt.text || tt.status != 200 && strings.Contains(got.body, tt.text)
		if got.StatusCode != tt.status || !matches || got.err != nil {
			t.Errorf("%s: %d %.200q, %v; want %d %.200q", tt.path, got.StatusCode, got.body, got.err, tt.status, tt.text)
		}
	}
	if got := a.metric("aegis_sockets"); got != "10" {
		t.Errorf("%s sockets, want 10: billing, slow, plain and seven elsewhere, but not the disabled one", got)
	}
}
