package http1_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/server"
)

// serve serves handler on loopback, in package http1 and, if a request is not for that, in
// net/http.
func serve(t *testing.T, handler http.HandlerFunc) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Config{
		Handler: handler, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	go s.Serve([]net.Listener{l})
	t.Cleanup(s.Close)
	return l.Addr().String()
}

// client is a client's connection.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return client{c, bufio.NewReader(c)}
}

// response is one as the client read it.
type response struct {
	status           int
	header           http.Header // without Date
	length           int64
	transferEncoding []string
	body             string
	err              error
}

// send sends request, which may be empty, and reads the next response.
func (c client) send(request string) response {
	io.WriteString(c, request)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return response{err: err}
	}
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	return response{resp.StatusCode, resp.Header, resp.ContentLength, resp.TransferEncoding, string(body), err}
}

const (
	fastRequest = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	slowRequest = "GET /a HTTP/1.1\r\nHost: h\r\nPragma: not for http1\r\n\r\n"
)

// splicer is a ResponseWriter of package http1.
type splicer interface {
	http.ResponseWriter
	Expect(n int64) error
	Splice(pipe, n int) (int64, error)
}

// splice has w move body in the kernel. In a chunked response it becomes a chunk.
func splice(w http.ResponseWriter, body string) {
	fast, ok := w.(splicer)
	if !ok {
		io.WriteString(w, body)
		return
	}
	fast.Expect(int64(len(body)))
	pour(fast, body)
}

// pour moves body to w in the kernel, until that fails.
func pour(w splicer, body string) error {
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for piece := range slices.Chunk([]byte(body), 50_000) {
		if _, err := unix.Write(pipe[1], piece); err != nil {
			return err
		}
		if _, err := w.Splice(pipe[0], len(piece)); err != nil {
			return err
		}
	}
	return nil
}

// onlyReader hides the other methods of a Reader.
type onlyReader struct{ io.Reader }

// Whatever a handler does, a client gets the same from package http1 as from net/http, twice
// on one connection.
func TestSameAsNetHTTP(t *testing.T) {
	large := strings.Repeat("0123456789abcde\n", 64<<10)
	for name, handler := range map[string]http.HandlerFunc{
		"short body":      func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x 1\n") },
		"no body":         func(w http.ResponseWriter, r *http.Request) { w.Header().Del("Content-Type") },
		"status":          func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); io.WriteString(w, "no\n") },
		"two statuses":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503); w.WriteHeader(200) },
		"unusual status":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(599) },
		"large body":      func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, large) },
		"body in 2 parts": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x"); io.WriteString(w, large) },
		"small parts": func(w http.ResponseWriter, r *http.Request) {
			for i := range 10_000 {
				fmt.Fprintln(w, i)
			}
		},
		"known length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)+1))
			io.WriteString(w, "x")
			io.WriteString(w, large)
		},
		"small parts of known length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10000")
			for range 1000 {
				io.WriteString(w, "123456789\n")
			}
		},
		"copied, known length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)+1))
			io.WriteString(w, "x")
			io.Copy(w, onlyReader{strings.NewReader(large)})
		},
		"copied": func(w http.ResponseWriter, r *http.Request) { io.Copy(w, onlyReader{strings.NewReader(large)}) },
		"spliced": func(w http.ResponseWriter, r *http.Request) {
			for i := range 3 {
				splice(w, large[:len(large)/2+i])
				fmt.Fprintln(w, i)
				splice(w, "x")
			}
		},
		"spliced, known length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(2*len(large)))
			splice(w, large)
			splice(w, large)
		},
		"header fields": func(w http.ResponseWriter, r *http.Request) {
			w.Header()["X-A"] = []string{"1", "2"}
			w.Header().Set("X-B", "a\r\nX-Evil: b")
			w.Header().Set("Allow", "GET")
			io.WriteString(w, r.Method+r.URL.String()+r.Host+r.Proto)
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, fast := w.(splicer)
				w.Header().Set("X-Fast", fmt.Sprint(fast))
				w.Header().Set("Content-Type", "text/plain")
				handler(w, r)
			})
			fast, slow := dial(t, addr), dial(t, addr)
			for range 2 {
				got, want := fast.send(fastRequest), slow.send(slowRequest)
				if got.header.Get("X-Fast") != "true" || want.header.Get("X-Fast") != "false" {
					t.Fatal("a request was served by the wrong package")
				}
				want.header.Set("X-Fast", "true")
				// net/http may send a short body with or without its length.
				if !strings.Contains(name, "known") && len(got.body) < 4<<10 {
					got.length, got.transferEncoding = want.length, want.transferEncoding
					got.header.Del("Content-Length")
					want.header.Del("Content-Length")
				}
				if got.body != want.body {
					t.Errorf("%d bytes, %.40q; net/http sends %d, %.40q", len(got.body), got.body, len(want.body), want.body)
				}
				got.body, want.body = "", ""
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%+v; net/http sends %+v", got, want)
				}
			}
		})
	}
}

// A request of 4 KiB is served here. A longer one goes to net/http.
func TestLongRequests(t *testing.T) {
	const most = 4 << 10
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, fast := w.(splicer)
		fmt.Fprint(w, fast)
	})
	for size, want := range map[int]string{most: "true", most + 1: "false", 3 * most: "false"} {
		head := "GET /a HTTP/1.1\r\nHost: h\r\nX-Pad: "
		head += strings.Repeat("a", size-len(head)-len("\r\n\r\n")) + "\r\n\r\n"
		if got := dial(t, addr).send(head); got.body != want {
			t.Errorf("%d bytes: fast %s, want %s (%v)", size, got.body, want, got.err)
		}
	}
}

// A response with Connection: close ends its connection, here and in net/http.
func TestConnectionCloseEndsTheConnection(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "last" {
			w.Header().Set("Connection", "close")
		}
		io.WriteString(w, "x 1\n")
	})
	for name, field := range map[string]string{"http1": "", "net/http": "Pragma: not for http1\r\n"} {
		c := dial(t, addr)
		for _, query := range []string{"first", "last"} {
			got := c.send("GET /a?" + query + " HTTP/1.1\r\nHost: h\r\n" + field + "\r\n")
			if got.err != nil || got.body != "x 1\n" {
				t.Fatalf("%s, %s response: %+v", name, query, got)
			}
		}
		if _, err := c.r.ReadByte(); err != io.EOF {
			t.Errorf("%s: after the last response the client reads %v, want EOF", name, err)
		}
	}
}
