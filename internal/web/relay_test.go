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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

func TestRelay(t *testing.T) {
	a := start(t)
	type seen struct {
		line   string
		header http.Header
		body   string
	}
	requests := make(chan seen, 1)
	a.service("worker@1", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method + " " + r.RequestURI, r.Header, string(body)}
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
		t.Errorf("the service saw %q with body %q", req.line, req.body)
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
	a.raw("broken", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx 1\n")
	got := a.do("HEAD", "/large", nil)
	if got.StatusCode != 200 || got.ContentLength != int64(len(body)) || <-methods != "GET" {
		t.Errorf("HEAD: status %d, length %d; want 200, %d", got.StatusCode, got.ContentLength, len(body))
	}
	if got := a.do("HEAD", "/broken", nil); got.StatusCode != 502 {
		t.Errorf("HEAD of half an answer: %d, want 502", got.StatusCode)
	}
}

// Each row of the table of failures that a scraper can be shown, made for real.
func TestFailures(t *testing.T) {
	a := start(t)
	a.service("fine", fine)
	a.service("metrics", fine)
	a.stale("stale")
	os.Symlink("fine.sock", filepath.Join(a.dir, "link.sock"))
	os.WriteFile(filepath.Join(a.dir, "file.sock"), nil, 0o600)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	a.service("hanging", func(w http.ResponseWriter, r *http.Request) { <-hang })
	a.raw("ssh", "SSH-2.0-OpenSSH\r\n")
	a.raw("cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx 1\n")
	a.raw("silent", "")
	a.raw("tls", "\x15\x03\x01\x00\x02\x02\x46")
	l, err := net.Listen("unix", filepath.Join(a.dir, "https.sock"))
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
		reason string
		says   string
	}{
		{"absent", 404, "not_found", "absent: no such socket: there is no " + a.dir + "/absent.sock"},
		{"..", 404, "not_found", `"..": no such socket: not a valid name, which is 1 to 250`},
		{"..%2fa", 404, "not_found", "; a name has no slash"},
		{"fine/metrics", 404, "not_found", "; ask for /fine, Aegis adds /metrics itself"},
		{"fine.sock", 404, "not_found", "; the name is fine, without .sock"},
		{"metrics/fine", 404, "not_found", "; ask for /fine, Aegis adds /metrics itself"},
		{"metrics.sock", 404, "not_found", "have its service call it otherwise"},
		{"-/targets", 404, "not_found", "; Aegis' own pages are"},
		{"link", 502, "not_socket", "links are not followed"},
		{"file", 502, "not_socket", "plain file"},
		{"stale", 502, "refused", "nobody is listening on"},
		{"hanging", 504, "timeout", "after 90ms nothing had come; if it is slow and does not hang, give it longer: scrape_timeout in Prometheus"},
		{"ssh", 502, "invalid", "needs protocol: raw"},
		{"tls", 502, "invalid", "it speaks TLS"},
		{"https", 502, "status", "400 Bad Request; it speaks TLS"},
		{"cut", 502, "truncated", "closed the connection after 42 bytes, before the end of its answer; its log"},
		{"silent", 502, "truncated", "without answering"},
		{"broken", 502, "status", "500 Internal Server Error"},
		{"page", 502, "not_metrics", "if its metrics have another path"},
		{"api", 502, "not_metrics", "application/json"},
	} {
		timeout := "10"
		if tt.reason == "timeout" {
			timeout = "0.1"
		}
		got := a.get("/"+tt.name, "X-Prometheus-Scrape-Timeout-Seconds", timeout)
		if got.StatusCode != tt.status || !strings.Contains(got.body, tt.says) {
			t.Errorf("%s: %d %q, want %d and %q", tt.name, got.StatusCode, got.body, tt.status, tt.says)
		}
		if strings.Count(got.body, "\n") != 1 || got.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %q of type %q is not one line of text", tt.name, got.body, got.Header.Get("Content-Type"))
		}
		count := a.metric(fmt.Sprintf(`aegis_scrapes_total{result="%s",target="%s"}`, tt.reason, tt.name))
		isSocket := tt.reason != "not_found" && tt.reason != "not_socket"
		if isSocket && count != "1" || !isSocket && count != "" {
			t.Errorf("%s: counted %q times as %s", tt.name, count, tt.reason)
		}
	}
	if got := a.metric("aegis_unknown_requests_total"); got != "10" {
		t.Errorf("%s requests for what is no socket, want 10", got)
	}

	mustRemove(t, a.dir)
	got := a.get("/fine")
	if got.StatusCode != 503 || !strings.Contains(got.body, "no such folder: "+a.dir+" does not exist") {
		t.Errorf("without the folder: %d %q", got.StatusCode, got.body)
	}
}

// A scrape beyond limits.MaxScrapes waits a little, whatever the others are of, and is
// refused then; requests for pages are none.
func TestTooManyRequests(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	for range limits.MaxScrapes {
		a.scrapes <- struct{}{}
	}
	const timeout = "X-Prometheus-Scrape-Timeout-Seconds"
	if got := a.get("/svc", timeout, "0.2"); got.StatusCode != 503 || got.Header.Get("Retry-After") != "1" || !strings.Contains(got.body, "under way already") {
		t.Errorf("one too many: %d, Retry-After %q, %q", got.StatusCode, got.Header.Get("Retry-After"), got.body)
	}
	waiting := make(chan int)
	go func() {
		resp, err := http.Get("http://" + a.addr + "/svc")
		if err != nil {
			waiting <- 0
			return
		}
		resp.Body.Close()
		waiting <- resp.StatusCode
	}()
	eventually(t, "a scrape that waits", func() bool { return a.requests.Load() == 1 })
	a.scrapes.leave()
	if got := <-waiting; got != 200 {
		t.Errorf("one that waits for a place: %d, want 200", got)
	}
	if got := a.get("/svc"); got.StatusCode != 200 {
		t.Errorf("the last there is room for: %d %q", got.StatusCode, got.body)
	}
}

func TestBusy(t *testing.T) {
	a := start(t)
	hang := make(chan struct{})
	var under atomic.Int32
	a.service("slow", func(w http.ResponseWriter, r *http.Request) {
		under.Add(1)
		<-hang
		fine(w, r)
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
	eventually(t, "scrapes under way", func() bool { return under.Load() == limits.MaxScrapesPerTarget })
	got := a.get("/slow")
	if got.StatusCode != 503 || got.Header.Get("Retry-After") != "1" || !strings.Contains(got.body, "16 scrapes of it are under way") {
		t.Errorf("one too many: %d, Retry-After %q, %q", got.StatusCode, got.Header.Get("Retry-After"), got.body)
	}
	close(hang)
	for range limits.MaxScrapesPerTarget {
		if status := <-done; status != 200 {
			t.Errorf("an admitted scrape: %d, want 200", status)
		}
	}
}

func TestPaths(t *testing.T) {
	a := start(t)
	var reached atomic.Int32
	a.service("svc", func(w http.ResponseWriter, r *http.Request) { reached.Add(1); fine(w, r) })
	sub := filepath.Join(a.dir, "sub")
	os.Mkdir(sub, 0o700)
	os.Link(filepath.Join(a.dir, "svc.sock"), filepath.Join(sub, "svc.sock"))
	os.Link(filepath.Join(a.dir, "svc.sock"), filepath.Join(a.dir, ".hidden.sock"))

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
		before := reached.Load()
		got, err := a.send("GET " + tt.target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) {
			t.Errorf("%s: %.60q, %v; want %d", tt.target, got, err, tt.status)
		}
		if want := tt.status == 200; (reached.Load() > before) != want {
			t.Errorf("%s: service reached %v, want %v", tt.target, !want, want)
		}
	}
}

func TestMethods(t *testing.T) {
	a := start(t)
	a.service("svc", func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s reached the service", r.Method) })
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

// A body is refused, and one that is announced and never comes holds nothing up.
func TestRequestBodyIsRefused(t *testing.T) {
	a := start(t)
	a.service("svc", func(w http.ResponseWriter, r *http.Request) { t.Error("the service was reached") })
	for _, tt := range []struct{ request, want string }{
		{"GET /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", "400"},
		{"GET /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", "400"},
		{"GET /svc HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
		{"GET /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nGET /svc HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"POST /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", "405"},
	} {
		got, err := a.send(tt.request)
		if !strings.HasPrefix(got, "HTTP/1.1 "+tt.want+" ") || strings.Count(got, "HTTP/1.1") != 1 {
			t.Errorf("%q: %q, %v; want one answer, %s", tt.request, got, err, tt.want)
		}
	}
}

// An answer that breaks when it has begun must fail for the scraper too.
func TestBrokenStreamFails(t *testing.T) {
	a := start(t)
	large := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+100_000)
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	a.raw("length", head+"Content-Length: 9999999\r\n\r\n"+large)
	a.raw("chunked", head+"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"+large)
	for _, name := range []string{"length", "chunked"} {
		got := a.get("/" + name)
		if got.StatusCode != 200 || got.err == nil {
			t.Errorf("%s: status %d, %d bytes and no error reading them", name, got.StatusCode, len(got.body))
		}
		if n := a.metric(fmt.Sprintf(`aegis_scrapes_total{result="truncated",target="%s"}`, name)); n != "1" {
			t.Errorf("%s: counted %q times as truncated", name, n)
		}
	}
	// To HTTP/1.0 the end of the connection is the end of the body, so such an
	// answer is not begun.
	if got, err := a.send("GET /chunked HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 505 ") || !strings.Contains(got, "ask with HTTP/1.1") {
		t.Errorf("to HTTP/1.0: %.80q, %v; want 505", got, err)
	}
}

func TestLargeBodiesArriveWhole(t *testing.T) {
	a := start(t)
	body := strings.Repeat("abcdefg 1\n", 500_000)
	a.service("length", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		io.WriteString(w, body)
	})
	a.service("chunked", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, body)
	})
	for _, name := range []string{"length", "chunked"} {
		for range 2 {
			if got := a.get("/" + name); got.body != body || got.err != nil {
				t.Errorf("%s: %d bytes of %d, %v", name, len(got.body), len(body), got.err)
			}
		}
	}
}

// A service that resets the connection in a body that is copied in the kernel is
// at fault, not the scraper.
func TestResetInABody(t *testing.T) {
	a := start(t)
	a.raw("svc", "HTTP/1.1 200 OK\r\n\r\nx 1\n")
	a.get("/svc") // Its series are counted now, and not in what follows.
	mustRemove(t, filepath.Join(a.dir, "svc.sock"))
	l, err := net.Listen("unix", filepath.Join(a.dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9999999\r\n\r\n")
			io.WriteString(c, strings.Repeat("x 1\n", 500_000))
			c.Close() // The request was not read: a reset.
		}
	}()
	for _, method := range []string{"GET", "HEAD"} {
		before := a.metric(`aegis_scrapes_total{result="truncated",target="svc"}`)
		a.send(method + " /svc HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		eventually(t, method+" counted as truncated", func() bool {
			return a.metric(`aegis_scrapes_total{result="truncated",target="svc"}`) != before
		})
	}
}

// A scraper that gives up around its deadline, in a body that it does not read, tells
// nothing of the service.
func TestResetAtTheDeadline(t *testing.T) {
	a := start(t)
	a.service("svc", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if a.metric(`aegis_scrapes_total{result="ok",target="svc"}`) == "" {
			io.WriteString(w, "x 1\n") // Its series are counted now, and not in what follows.
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(64<<20))
		w.Write(make([]byte, 64<<20))
	})
	a.get("/svc")
	eventually(t, "the first scrape", func() bool { return a.metric(`aegis_scrapes_total{result="ok",target="svc"}`) == "1" })
	var done sync.WaitGroup
	// Of a second Aegis waits 0.9.
	for _, after := range []time.Duration{700, 950, 1100, 1300} {
		done.Go(func() {
			c, err := net.Dial("tcp", a.addr)
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, "GET /svc HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n")
			time.Sleep(after * time.Millisecond)
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		})
	}
	done.Wait()
	eventually(t, "four canceled", func() bool { return a.metric(`aegis_scrapes_total{result="canceled",target="svc"}`) == "4" })
}

// A scraper that hangs up frees what its scrape held, long before the deadline.
func TestHangUp(t *testing.T) {
	for name, tt := range map[string]struct{ field, more string }{
		"at once":                           {},
		"behind a next request":             {more: "G"},
		"over net/http":                     {field: "Pragma: x\r\n"},
		"behind a next request in net/http": {field: "Pragma: x\r\n", more: "G"},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			gone := make(chan struct{}, 1)
			a.service("slow", func(w http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				gone <- struct{}{}
			})
			c, err := net.Dial("tcp", a.addr)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n"+tt.field+"\r\n")
			eventually(t, "the scrape under way", func() bool { return a.client.InFlight() == 1 })
			if tt.more != "" {
				time.Sleep(3 * limits.HangUpCheckDelay) // for who watches to see it first
				io.WriteString(c, tt.more)
				time.Sleep(limits.HangUpCheckDelay)
			}
			c.Close()
			select {
			case <-gone:
			case <-time.After(5 * time.Second):
				t.Error("the service is still kept, long after the hang-up")
			}
			eventually(t, "nothing under way", func() bool { return a.client.InFlight() == 0 && a.client.Connections() == 0 })
			eventually(t, "the scrape is counted as canceled, once", func() bool {
				return a.metric(`aegis_scrapes_total{result="canceled",target="slow"}`) == "1"
			})
		})
	}
}

// A scraper that does not read what it asked for is let go at the deadline.
func TestSlowReader(t *testing.T) {
	a := start(t)
	body := strings.Repeat("abcdefg 1\n", 5_000_000)
	a.service("large", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		io.WriteString(w, body)
	})
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /large HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 0.2\r\n\r\n")
	eventually(t, "the scrape under way", func() bool { return a.client.InFlight() == 1 })
	eventually(t, "the scrape given up", func() bool { return a.client.InFlight() == 0 })
	eventually(t, "the scrape is counted as canceled, once", func() bool {
		return a.metric(`aegis_scrapes_total{result="canceled",target="large"}`) == "1"
	})
}
