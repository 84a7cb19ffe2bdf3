package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// BenchmarkRelay measures a scrape from the client's request to the last byte of the response,
// over loopback and real Unix sockets. Client and service do so little that nearly all of the
// time, and every allocation, is Aegis' own.
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
				continue // Some would get 503.
			}
			b.Run(fmt.Sprintf("30000B-chunked/targets-%d/scrapers-%d", targets, scrapers), func(b *testing.B) {
				relayBenchmark(b, response(30_000, true), targets, scrapers)
			})
		}
	}
}

// response returns a service's response with a body of size bytes.
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
	a := start(b)
	for i := range targets {
		a.serveResponse(fmt.Sprint("svc", i), response)
	}

	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var done sync.WaitGroup
	for range scrapers {
		done.Go(func() {
			c, err := net.Dial("tcp", a.addr)
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

// serveResponse serves the socket called name: it sends response for each request.
func (a *aegis) serveResponse(name string, response []byte) {
	a.accept(a.socket(name), func(c net.Conn) {
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
	})
}

// scrapeRaw sends request and discards the response, which must have status 200 and a length
// or chunks.
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
		return errors.New("status is not 200")
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

// BenchmarkScrape measures a scrape without the client's connection.
//
//	go test -run '^$' -bench Scrape -benchmem ./internal/web
func BenchmarkScrape(b *testing.B) {
	for _, size := range []int{1500, 30_000} {
		b.Run(fmt.Sprintf("%dB-chunked", size), func(b *testing.B) {
			a := start(b)
			a.serveResponse("svc", response(size, true))
			w := &sink{header: make(http.Header)}
			r, err := http.NewRequest("GET", "http://h/svc", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header = http.Header{
				"Accept": {"text/plain"}, "User-Agent": {"Prometheus/3"}, "X-Prometheus-Scrape-Timeout-Seconds": {"10"},
			}
			r = r.WithContext(neverCanceled{b.Context()})
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				a.ServeHTTP(w, r)
			}
			if w.status != http.StatusOK || w.bytes != int64(b.N)*int64(size) {
				b.Fatalf("status %d, %d bytes in %d scrapes", w.status, w.bytes, b.N)
			}
		})
	}
}

// neverCanceled is the context of a client that does not hang up. It has an AfterFunc, as
// the contexts of package http1 have.
type neverCanceled struct{ context.Context }

// AfterFunc never calls f.
func (neverCanceled) AfterFunc(func()) (stop func() bool) { return func() bool { return true } }

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
