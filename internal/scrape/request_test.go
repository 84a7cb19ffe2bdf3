package scrape

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// parseRequest returns the request with this head as a server gets it.
func parseRequest(t *testing.T, head string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNewRequest(t *testing.T) {
	for _, tt := range []struct{ name, from, want string }{
		{
			name: "forwarded",
			from: "GET /svc?name[]=x&name[]=y;z&%zz HTTP/1.1\r\nHost: [fda2::1]:31337\r\nAccept: a\r\nAccept: b;q=0.1\r\nAccept-Encoding: gzip\r\nUser-Agent: Prometheus/3\r\nX-Prometheus-Scrape-Timeout-Seconds: 7.5\r\n\r\n",
			want: "GET /metrics?name[]=x&name[]=y;z&%zz HTTP/1.1\r\nHost: [fda2::1]:31337\r\nAccept: a, b;q=0.1\r\nAccept-Encoding: gzip\r\nUser-Agent: Prometheus/3\r\nX-Prometheus-Scrape-Timeout-Seconds: 7.5\r\n\r\n",
		},
		{
			name: "not forwarded",
			from: "GET /svc HTTP/1.1\r\nHost: h\r\nAuthorization: Basic x\r\nProxy-Authorization: Basic x\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nRange: bytes=0-1\r\nX-Prometheus-Scrape-Timeout-Seconds: NaN\r\nContent-Length: 3\r\n\r\nabc",
			want: "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n",
		},
		{name: "empty query", from: "GET /svc? HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /metrics? HTTP/1.1\r\nHost: h\r\n\r\n"},
		{name: "HEAD", from: "HEAD /svc HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"},
		{name: "no host", from: "GET /svc HTTP/1.0\r\n\r\n", want: "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{name: "absolute URI", from: "GET http://other/svc?a HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /metrics?a HTTP/1.1\r\nHost: other\r\n\r\n"},
	} {
		req := NewRequest(parseRequest(t, tt.from))
		if got := string(req.appendTo(nil)); got != tt.want {
			t.Errorf("%s: %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// A target's params, host and content type come from the operator; the scraper's own query wins.
func TestParamsAndHost(t *testing.T) {
	params := map[string]string{"format": "prometheus", "a b": "&=", "collect[]": "cpu"}
	for query, want := range map[string]string{
		"":                         "?a+b=%26%3D&collect%5B%5D=cpu&format=prometheus",
		"?x=%zz&y;z":               "?x=%zz&y;z&a+b=%26%3D&collect%5B%5D=cpu&format=prometheus",
		"?format=json&a%20b":       "?format=json&a%20b&collect%5B%5D=cpu",
		"?format&collect[]=b&a+b=": "?format&collect[]=b&a+b=",
	} {
		req := NewRequest(parseRequest(t, "GET /svc"+query+" HTTP/1.1\r\nHost: h\r\n\r\n"))
		req.Params, req.Host = params, "app.example.org"
		if got, want := string(req.appendTo(nil)), "GET /metrics"+want+" HTTP/1.1\r\nHost: app.example.org\r\n\r\n"; got != want {
			t.Errorf("%s: %q\nwant %q", query, got, want)
		}
	}
}

func TestContentTypeOfTheTarget(t *testing.T) {
	compressed := func(body string) string {
		return okLine + "Content-Type: text/html\r\n" + gzipCoding + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(gzipped(body)), gzipped(body))
	}
	for response, want := range map[string]error{
		compressed("x 1\n"):  nil,
		compressed("<html>"): ErrNotMetrics,
		okLine + "Content-Type: text/html\r\nContent-Length: 7\r\n\r\nno way\n":        ErrNotMetrics,
		okLine + "Content-Type: text/html\r\nContent-Length: 4\r\n\r\nx 1\n":           nil,
		okLine + "Content-Length: 4\r\n\r\nx 1\n":                                      nil,
		okLine + "Content-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>":          ErrNotMetrics,
		okLine + "Content-Type: application/json\r\nContent-Length: 6\r\n\r\n{\"a\":1": ErrNotMetrics,
	} {
		s := startService(t, t.TempDir(), respondAndClose(response))
		req := newRequest(t, 5*time.Second)
		req.ContentType = "application/openmetrics-text; version=1.0.0"
		_, resp, err := scrapeSocket(t.Context(), newClient(t), s.socket(t), req)
		if !errors.Is(err, want) || err == nil && resp.ContentType != req.ContentType {
			t.Errorf("%q: %v, want %v", response, err, want)
		}
	}
}

// The line in which a service explains a status may arrive after the head, and is hostile.
func TestStatusLine(t *testing.T) {
	const head = "HTTP/1.1 400 Bad Request\r\n"
	for _, tt := range []struct{ head, body, want string }{
		{head + "Content-Length: 17\r\n\r\n", "\nno\x1b[2J host\r\nat all", "no?[2J host"},
		{head + chunkedCoding + "\r\n", "7\r\nno host\r\n0\r\n\r\n", "no host"},
		{head + "Content-Length: 0\r\n\r\n", "", ""},
		{head + "\r\n", "", ""},
	} {
		s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
			io.WriteString(c, tt.head)
			time.Sleep(10 * time.Millisecond)
			io.WriteString(c, tt.body)
			io.Copy(io.Discard, c)
			return false
		})
		start := time.Now()
		_, _, err := s.scrape(t, newClient(t))
		if status, ok := errors.AsType[*StatusError](err); !ok || status.Line != tt.want {
			t.Errorf("%q: %v, want the line %q", tt.head, err, tt.want)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%q: the error took %v", tt.head, took)
		}
	}
}

func TestTimeoutHeader(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   time.Duration
	}{
		{"10", 9500 * time.Millisecond},
		{"60", 59500 * time.Millisecond},
		{"1", 900 * time.Millisecond},
		{"0.5", 450 * time.Millisecond},
		{"0.01", 90 * time.Millisecond},
		{"1e-9", 90 * time.Millisecond},
		{"5e0", 4500 * time.Millisecond},
		{"", 10 * time.Second},
		{"1e-300", 10 * time.Second},
		{"NaN", 10 * time.Second},
		{"-1", 10 * time.Second},
		{"0", 10 * time.Second},
		{"Inf", 10 * time.Second},
		{"1e300", 10 * time.Second},
		{"10s", 10 * time.Second},
		{"0x1p3", 10 * time.Second},
		{"1_0", 10 * time.Second},
		{"300", limits.MaxScrapeTimeout - limits.MaxScrapeTimeoutOffset},
		{"301", 10 * time.Second},
	} {
		r := parseRequest(t, "GET /svc HTTP/1.1\r\nHost: h\r\n"+TimeoutHeader+": "+tt.header+"\r\n\r\n")
		if got := NewRequest(r).Timeout; got != tt.want {
			t.Errorf("%q: %v, want %v", tt.header, got, tt.want)
		}
	}
}

func TestLimitTimeout(t *testing.T) {
	for _, tt := range []struct{ limit, want time.Duration }{
		{time.Second, time.Second},
		{limits.DefaultScrapeTimeout + 1, limits.DefaultScrapeTimeout},
		{0, limits.DefaultScrapeTimeout},
	} {
		req := NewRequest(parseRequest(t, "GET /svc HTTP/1.1\r\nHost: h\r\n\r\n"))
		req.LimitTimeout(tt.limit, "advice")
		if limited := req.timeoutAdvice == "advice"; req.Timeout != tt.want || limited != (tt.want == tt.limit) {
			t.Errorf("%v: timeout %v, advice %q; want %v", tt.limit, req.Timeout, req.timeoutAdvice, tt.want)
		}
	}
}
