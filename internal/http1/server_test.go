package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// serve serves handler on loopback: here and, where that is not for here, in
// net/http, whose requests carry an X-Net-Http.
func serve(t *testing.T, handler http.HandlerFunc) (s *Server, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = &Server{Handler: handler, Log: slog.New(slog.DiscardHandler)}
	other := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Net-Http", "yes")
		handler(w, r)
	}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			s.Settle(c)
		}
	}}
	go other.Serve(s.Listen(l))
	t.Cleanup(func() { other.Close(); s.Close() })
	return s, l.Addr().String()
}

// client is a connection to a server.
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
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return client{c, bufio.NewReader(c)}
}

// answer is one that came.
type answer struct {
	status int
	header http.Header
	length int64
	chunks []string // Transfer-Encoding
	body   string
	err    error // of the body
}

func (c client) ask(t *testing.T, request string) answer {
	t.Helper()
	io.WriteString(c, request)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return answer{err: err}
	}
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	return answer{resp.StatusCode, resp.Header, resp.ContentLength, resp.TransferEncoding, string(body), err}
}

// eventually waits for what is soon to be so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is not so that %s", what)
		}
	}
}

const (
	here  = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	there = "GET /a HTTP/1.1\r\nHost: h\r\nPragma: there\r\n\r\n"
)

// Whatever a handler does, a scraper gets the same as from net/http, twice on one
// connection.
func TestSameAsNetHTTP(t *testing.T) {
	large := strings.Repeat("0123456789abcde\n", 64<<10)
	text := func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/plain") }
	for name, handler := range map[string]http.HandlerFunc{
		"a body":        func(w http.ResponseWriter, r *http.Request) { text(w); io.WriteString(w, "x 1\n") },
		"none":          func(w http.ResponseWriter, r *http.Request) {},
		"a status":      func(w http.ResponseWriter, r *http.Request) { text(w); w.WriteHeader(404); io.WriteString(w, "no\n") },
		"two statuses":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503); w.WriteHeader(200) },
		"an odd status": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(599) },
		"a large body":  func(w http.ResponseWriter, r *http.Request) { text(w); io.WriteString(w, large) },
		"in two": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			io.WriteString(w, "x")
			io.WriteString(w, large)
		},
		"in small parts": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			for i := range 10_000 {
				fmt.Fprintln(w, i)
			}
		},
		"of known length": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			w.Header().Set("Content-Length", fmt.Sprint(len(large)+1))
			io.WriteString(w, "x")
			io.WriteString(w, large)
		},
		"in small parts of known length": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			w.Header().Set("Content-Length", "10000")
			for range 1000 {
				io.WriteString(w, "123456789\n")
			}
		},
		"copied": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			w.Header().Set("Content-Length", fmt.Sprint(len(large)+1))
			io.WriteString(w, "x")
			io.Copy(w, onlyReader{strings.NewReader(large)})
		},
		"copied, of unknown length": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			io.Copy(w, onlyReader{strings.NewReader(large)})
		},
		"chunk by chunk": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			for i := range 3 {
				splice(w, large[:len(large)/2+i])
				fmt.Fprintln(w, i)
				splice(w, "x")
			}
		},
		"chunk by chunk of known length": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			w.Header().Set("Content-Length", fmt.Sprint(2*len(large)))
			splice(w, large)
			splice(w, large)
		},
		"fields": func(w http.ResponseWriter, r *http.Request) {
			text(w)
			w.Header()["X-A"] = []string{"1", "2"}
			w.Header().Set("X-B", "a\r\nX-Evil: b")
			w.Header().Set("Allow", "GET")
			io.WriteString(w, r.Method+r.URL.String()+r.Host+r.Proto)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, addr := serve(t, handler)
			own, other := dial(t, addr), dial(t, addr)
			for range 2 {
				got, want := own.ask(t, here), other.ask(t, there)
				if got.header.Get("X-Net-Http") != "" || want.header.Get("X-Net-Http") == "" {
					t.Fatal("not served where it should be")
				}
				want.header.Del("X-Net-Http")
				// Where net/http has a length, or none, is its own affair.
				if !strings.Contains(name, "known") && len(got.body) < 4<<10 {
					got.length, got.chunks = want.length, want.chunks
					got.header.Del("Content-Length")
					want.header.Del("Content-Length")
				}
				if got.body != want.body {
					t.Errorf("body of %d bytes, %.40q; net/http has %d, %.40q", len(got.body), got.body, len(want.body), want.body)
				}
				got.body, want.body = "", ""
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%+v, in net/http %+v", got, want)
				}
			}
			eventually(t, "one connection is served here", func() bool { return s.Connections() == 1 })
		})
	}
}

// splice has w take body in the kernel, as a chunk where that is up to the handler.
func splice(w http.ResponseWriter, body string) {
	e, ok := w.(*exchange)
	if !ok {
		io.WriteString(w, body)
		return
	}
	e.Expect(int64(len(body)))
	pour(e, body)
}

// pour has e take body of what it expects, until that fails.
func pour(e *exchange, body string) (err error) {
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
		if _, err := e.Splice(pipe[0], len(piece)); err != nil {
			return err
		}
	}
	return nil
}

// onlyReader hides what else a reader can do.
type onlyReader struct{ io.Reader }

// A scraper sees that an answer is not whole.
func TestBrokenAnswers(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"a panic before": func(w http.ResponseWriter, r *http.Request) { panic("on purpose") },
		"an abort":       func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"an abort in chunks": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Repeat("x", 10_000))
			panic(http.ErrAbortHandler)
		},
		"less than announced": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10000")
			io.WriteString(w, strings.Repeat("x", 9999))
		},
		"less than a chunk": func(w http.ResponseWriter, r *http.Request) {
			splice(w, "1")
			e := w.(*exchange)
			e.Expect(100)
			pour(e, "x\r\n0\r\n\r\n")
			splice(w, "1")
		},
		"less than a chunk, and no error": func(w http.ResponseWriter, r *http.Request) {
			e := w.(*exchange)
			e.Expect(3)
			pour(e, "x")
		},
		"something else in a chunk": func(w http.ResponseWriter, r *http.Request) {
			e := w.(*exchange)
			e.Expect(3)
			if _, err := io.WriteString(w, strings.Repeat("x", 10_000)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("writing in a chunk: %v", err)
			}
		},
		"more expected than announced": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3")
			if err := w.(*exchange).Expect(4); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("expecting too much: %v", err)
			}
		},
		"nothing of what was announced": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "1") },
		"no length in the length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "one")
			io.WriteString(w, "x")
		},
		"more than announced": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3")
			if _, err := io.WriteString(w, "four"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("writing too much: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr := serve(t, handler)
			c := dial(t, addr)
			if got := c.ask(t, here); got.err == nil || errors.Is(got.err, os.ErrDeadlineExceeded) {
				t.Errorf("status %d, error %v", got.status, got.err)
			}
			if _, err := c.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection goes on (%v)", err)
			}
		})
	}
}

// A stop answers what was asked and closes what is idle.
func TestShutdown(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	s, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(asked)
			<-answer
		}
		io.WriteString(w, "x 1\n")
	})
	idle, busy := dial(t, addr), dial(t, addr)
	idle.ask(t, here)
	got := make(chan string)
	go func() { got <- busy.ask(t, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").body }()
	<-asked
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	if _, err := idle.r.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection: %v, want its end", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while a request is answered: %v", err)
	}
	close(answer)
	if body := <-got; body != "x 1\n" {
		t.Errorf("what was asked is answered with %q", body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A deadline that was set for the time between requests, or to wake who is idle,
// does not keep a hang-up from being noticed.
func TestHangUpAfterADeadline(t *testing.T) {
	asked, ended := make(chan struct{}), make(chan struct{})
	s, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(ended)
	})
	c := dial(t, addr)
	io.WriteString(c, here)
	<-asked
	time.Sleep(3 * limits.HangUpCheckDelay)
	s.mu.Lock()
	for own := range s.conns {
		own.wake()
	}
	s.mu.Unlock()
	time.Sleep(3 * limits.HangUpCheckDelay)
	c.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the hang-up was not noticed")
	}
}

// A request leaves nothing behind for the next, and its context serves as many as
// any context does.
func TestRequestsAreApart(t *testing.T) {
	ended := make(chan string, 2)
	_, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.FormValue("x"))
		if r.FormValue("x") == "wait" {
			one, stopOne := context.WithCancel(r.Context())
			defer stopOne()
			other, stopOther := context.WithCancel(r.Context())
			stopOther()
			<-other.Done()
			<-one.Done()
			ended <- "ended"
		}
	})
	c := dial(t, addr)
	for _, x := range []string{"1", "2", ""} {
		if got := c.ask(t, "GET /a?x="+x+" HTTP/1.1\r\nHost: h\r\n\r\n"); got.body != x {
			t.Errorf("asked with %q: %q", x, got.body)
		}
	}
	io.WriteString(c, "GET /a?x=wait HTTP/1.1\r\nHost: h\r\n\r\n")
	time.Sleep(2 * limits.HangUpCheckDelay)
	c.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("a context did not end with its parent")
	}
}

// A handler learns that its scraper hung up, and one that was slow does not spoil
// the connection.
func TestHangUp(t *testing.T) {
	ended := make(chan error)
	s, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			ended <- r.Context().Err()
		case <-time.After(5 * limits.HangUpCheckDelay):
			if r.URL.Path == "/wait" {
				<-r.Context().Done()
				ended <- r.Context().Err()
			}
		}
	})
	for range 3 {
		c := dial(t, addr)
		for range 3 {
			if got := c.ask(t, here); got.err != nil {
				t.Fatal(got.err)
			}
		}
		io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
		c.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the context ended with %v", err)
		}
	}
	eventually(t, "no connection is left", func() bool { return s.Connections() == 0 })
}

// The next request that comes while one is answered is answered next.
func TestPipeline(t *testing.T) {
	_, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(3 * limits.HangUpCheckDelay)
		io.WriteString(w, r.URL.Path)
	})
	c := dial(t, addr)
	io.WriteString(c, here)
	time.Sleep(2 * limits.HangUpCheckDelay)
	io.WriteString(c, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
	if got := c.ask(t, "GET /c HTTP/1.1\r\nHost: h\r\n\r\n"); got.body != "/a" {
		t.Errorf("first %+v", got)
	}
	for _, want := range []string{"/b", "/c"} {
		if got := c.ask(t, ""); got.body != want {
			t.Errorf("then %+v, want %s", got, want)
		}
	}
}

// Who connects and says nothing is let go.
func TestSilence(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test waits for a deadline")
	}
	t.Parallel()
	_, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	c := dial(t, addr)
	c.SetDeadline(time.Now().Add(3 * limits.ReadHeaderTimeout))
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("%v, want the end of the connection", err)
	}
}
