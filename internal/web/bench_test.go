package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// BenchmarkRelay measures a scrape from the client's request to the last byte of
// its answer, over loopback and real Unix sockets. Client and service are raw
// and prepared, so that nearly all of the time and every allocation is Aegis'.
//
//	go test -run '^$' -bench Relay -count 6 ./internal/web | tee new && benchstat old new
func BenchmarkRelay(b *testing.B) {
	for _, payload := range []struct {
		size    int
		chunked bool
	}{{1500, false}, {30_000, false}, {30_000, true}, {100_000, false}, {1_000_000, true}, {5_000_000, false}} {
		framing := "length"
		if payload.chunked {
			framing = "chunked"
		}
		b.Run(fmt.Sprintf("%dB-%s", payload.size, framing), func(b *testing.B) {
			relayBenchmark(b, response(payload.size, payload.chunked), 1, 1)
		})
	}
	for _, targets := range []int{1, 100, 1000} {
		for _, scrapers := range []int{1, 16, 256} {
			if scrapers > targets*limits.MaxScrapesPerTarget {
				continue // They would be told that it is busy.
			}
			b.Run(fmt.Sprintf("30000B-chunked/targets-%d/scrapers-%d", targets, scrapers), func(b *testing.B) {
				relayBenchmark(b, response(30_000, true), targets, scrapers)
			})
		}
	}
}

// response is a service's answer with a body of size bytes.
func response(size int, chunked bool) []byte {
	const sample = "some_metric_total{method=\"GET\",code=\"200\"} 12345\n"
	body := strings.Repeat(sample, size/len(sample)+1)[:size-1] + "\n"
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nDate: Sun, 22 Nov 2026 20:00:00 GMT\r\n"
	if !chunked {
		return fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", head, size, body)
	}
	out := []byte(head + "Transfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		n := min(len(body), 2048)
		out = fmt.Appendf(out, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return append(out, "0\r\n\r\n"...)
}

func relayBenchmark(b *testing.B, response []byte, targets, scrapers int) {
	dir := b.TempDir()
	for i := range targets {
		l, err := net.Listen("unix", filepath.Join(dir, fmt.Sprintf("svc%d.sock", i)))
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go prepared(l, response)
	}
	l := listenLoopback(b)
	s := New(Config{Folder: socketdir.New(dir), Log: slog.New(slog.DiscardHandler)})
	srv := s.HTTPServer()
	go srv.Serve(s.Plain(s.Guard(l, nil)))
	defer func() { srv.Close(); s.Close() }()

	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var done sync.WaitGroup
	for range scrapers {
		done.Go(func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			r := bufio.NewReaderSize(c, 64<<10)
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := scrapeRaw(c, r, fmt.Appendf(nil, "GET /svc%d HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\nUser-Agent: Prometheus/3\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n", i%int64(targets))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
}

// prepared answers every request on l with response, whatever it is.
func prepared(l net.Listener, response []byte) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 4096)
			for {
				n, err := c.Read(buf)
				if err != nil || !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
					return
				}
				if _, err := c.Write(response); err != nil {
					return
				}
			}
		}()
	}
}

// scrapeRaw sends request and reads an answer, which must be 200 and have a
// length or be chunked, without looking at more of it than that.
func scrapeRaw(c net.Conn, r *bufio.Reader, request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	length, ok := -1, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			ok = true
		}
		if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			fmt.Sscan(string(value), &length)
		}
		if len(line) == 2 {
			break
		}
	}
	if !ok {
		return fmt.Errorf("not 200")
	}
	if length >= 0 {
		_, err := r.Discard(length)
		return err
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		var n int
		fmt.Sscanf(string(line), "%x", &n)
		if _, err := r.Discard(n + 2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// BenchmarkScrape is a scrape without net/http's part in it: what is allocated
// here is Aegis' own and the libraries' on its behalf.
//
//	go test -run '^$' -bench Scrape -benchmem ./internal/web
func BenchmarkScrape(b *testing.B) {
	for _, size := range []int{1500, 30_000} {
		b.Run(fmt.Sprintf("%dB-chunked", size), func(b *testing.B) {
			dir := b.TempDir()
			l, err := net.Listen("unix", filepath.Join(dir, "svc.sock"))
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go prepared(l, response(size, true))
			s := New(Config{Folder: socketdir.New(dir), Log: slog.New(slog.DiscardHandler)})
			defer s.Close()
			w := &sink{header: make(http.Header)}
			r, err := http.NewRequest("GET", "http://h/svc", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header = http.Header{
				"Accept": {"text/plain"}, "User-Agent": {"Prometheus/3"}, "X-Prometheus-Scrape-Timeout-Seconds": {"10"},
			}
			r = r.WithContext(quiet{b.Context()})
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				s.ServeHTTP(w, r)
			}
			if w.status != http.StatusOK || w.bytes != int64(b.N)*int64(size) {
				b.Fatalf("status %d, %d bytes in %d scrapes", w.status, w.bytes, b.N)
			}
		})
	}
}

func listenLoopback(b *testing.B) net.Listener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

// quiet is the context of a scraper that does not hang up, as package http1 has
// them.
type quiet struct{ context.Context }

// AfterFunc never calls f.
func (quiet) AfterFunc(f func()) (stop func() bool) { return inTime }

func inTime() bool { return true }

// sink is a ResponseWriter that counts.
type sink struct {
	header http.Header
	status int
	bytes  int64
}

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) WriteHeader(status int)           { s.status = status }
func (s *sink) Write(b []byte) (int, error)      { s.bytes += int64(len(b)); return len(b), nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
