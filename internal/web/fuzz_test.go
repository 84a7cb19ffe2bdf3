package web

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// FuzzScraper sends anything to a real listener. Whatever that is, the service
// behind is asked for its metrics and for nothing else, with no field but those
// that may pass, and every answer is one that a scraper can be given.
func FuzzScraper(f *testing.F) {
	for _, seed := range []string{
		"GET /svc HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /svc?a=b HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\nAuthorization: Basic x\r\nAccept: x\r\n\r\n",
		"GET http://other/svc HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /%73vc HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /svc%2f..%2fsvc HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /svc?a%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde",
		"POST /svc HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HEAD /svc HTTP/1.0\r\n\r\n",
		"GET /svc HTTP/1.1\r\nHost: h\r\nUser-Agent: a\r\n b: c\r\nAccept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 1e309\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	asked := strictService(f, filepath.Join(dir, "svc.sock"))
	s := New(Config{Folder: socketdir.New(dir), Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	server := s.HTTPServer()
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	go server.Serve(s.Plain(s.Guard(l, nil)))
	f.Cleanup(func() { server.Close(); s.Close() })

	f.Fuzz(func(t *testing.T, request []byte) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(100 * time.Millisecond)) // for what waits for more
		c.Write(request)
		// What ends the connection, if there is still one.
		io.WriteString(c, "\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		r := bufio.NewReader(c)
		for {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				break
			}
			switch resp.StatusCode {
			case 200, 400, 404, 405, 414, 417, 431, 501, 502, 503, 504, 505:
			default:
				t.Errorf("%q is answered with %s", request, resp.Status)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				break
			}
		}
		if wrong := asked(); wrong != "" {
			t.Errorf("%q made the service be asked %q", request, wrong)
		}
	})
}

var (
	scrapeLine  = regexp.MustCompile(`^GET /metrics(\?[^ ]*)? HTTP/1\.1$`)
	scrapeField = regexp.MustCompile(`^(Host|Accept|Accept-Encoding|User-Agent|X-Prometheus-Scrape-Timeout-Seconds): [^\x00-\x08\x0a-\x1f\x7f]*$`)
)

// strictService serves the socket at path. The function that it returns gives
// what it was asked that no scrape is, since the last time.
func strictService(f *testing.F, path string) (asked func() string) {
	f.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	var (
		mu    sync.Mutex
		wrong string
	)
	converse := func(c net.Conn) {
		defer c.Close()
		var pending []byte
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			pending = append(pending, buf[:n]...)
			for {
				head, rest, ok := bytes.Cut(pending, []byte("\r\n\r\n"))
				if !ok {
					break
				}
				pending = rest
				lines := strings.Split(string(head), "\r\n")
				ok = scrapeLine.MatchString(lines[0])
				for _, line := range lines[1:] {
					ok = ok && scrapeField.MatchString(line)
				}
				if !ok || len(rest) > 0 {
					mu.Lock()
					wrong = string(head) + string(rest)
					mu.Unlock()
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nx 1\n")
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go converse(c)
		}
	}()
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		out := wrong
		wrong = ""
		return out
	}
}
