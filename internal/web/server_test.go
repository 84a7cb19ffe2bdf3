package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// aegis is a Server on a real listener, with the folder it serves and its log.
type aegis struct {
	*Server
	t    *testing.T
	dir  string
	addr string
	log  *syncBuffer
}

// start serves a new folder on loopback.
func start(t *testing.T) *aegis {
	t.Helper()
	dir := t.TempDir()
	log := new(syncBuffer)
	s := New(Config{
		Folder: socketdir.New(dir), Version: "1.2.3", Revision: "abc",
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := s.HTTPServer()
	go srv.Serve(s.Plain(s.Guard(l, nil)))
	t.Cleanup(func() { srv.Close(); s.Close() })
	return &aegis{Server: s, t: t, dir: dir, addr: l.Addr().String(), log: log}
}

// service serves name.sock with h.
func (a *aegis) service(name string, h http.HandlerFunc) *net.UnixListener {
	a.t.Helper()
	l, err := net.Listen("unix", filepath.Join(a.dir, name+".sock"))
	if err != nil {
		a.t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	a.t.Cleanup(func() { srv.Close() })
	return l.(*net.UnixListener)
}

// raw serves name.sock with a service that reads a request's head, sends
// response, and closes the connection.
func (a *aegis) raw(name, response string) {
	a.t.Helper()
	l, err := net.Listen("unix", filepath.Join(a.dir, name+".sock"))
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, response)
			}()
		}
	}()
}

// reply is an answer of Aegis.
type reply struct {
	*http.Response
	body string
	err  error // met while reading the body
}

// get is GET path, with header fields in pairs.
func (a *aegis) get(path string, fields ...string) reply {
	a.t.Helper()
	return a.do("GET", path, nil, fields...)
}

func (a *aegis) do(method, path string, body io.Reader, fields ...string) reply {
	a.t.Helper()
	req, err := http.NewRequest(method, "http://"+a.addr+path, body)
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return reply{resp, string(data), err}
}

// dial returns a scraper's connection.
func (a *aegis) dial() net.Conn {
	a.t.Helper()
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(3 * limits.ReadHeaderTimeout))
	return c
}

// send sends bytes as a scraper and returns all that comes back.
func (a *aegis) send(request string) (string, error) {
	a.t.Helper()
	c := a.dial()
	defer c.Close()
	io.WriteString(c, request)
	data, err := io.ReadAll(c)
	return string(data), err
}

// metric returns the value of a series of Aegis' own, "" if there is none.
func (a *aegis) metric(series string) string {
	a.t.Helper()
	for line := range strings.Lines(a.get("/metrics").body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fine is a service that works.
func fine(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintln(w, "x 1")
}

// stale leaves name.sock behind with nobody listening on it.
func (a *aegis) stale(name string) {
	l := a.service(name, fine)
	l.SetUnlinkOnClose(false)
	l.Close()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// syncBuffer is a buffer to log to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func mustRemove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// Who says nothing more is let go by net/http, too; but who kept a connection for
// the next scrape is waited for.
func TestSilence(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test waits for deadlines")
	}
	t.Parallel()
	a := start(t)
	a.service("svc", fine)
	const theirs = "GET /svc HTTP/1.1\r\nHost: h\r\nPragma: is not for http1\r\n\r\n"
	for name, said := range map[string]string{
		"in a head":    theirs + "GET /svc HTTP/1.1\r\nHost: h\r\nX-Pad: a",
		"in a body":    "POST /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx",
		"in its first": "POST /svc HTTP/1.1\r\nHost",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin, c := time.Now(), a.dial()
			io.WriteString(c, said)
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("still there after %v", time.Since(begin))
			}
		})
	}
	t.Run("between two scrapes", func(t *testing.T) {
		t.Parallel()
		c := a.dial()
		answers := bufio.NewReader(c)
		for i := range 2 {
			time.Sleep(time.Duration(i) * (limits.ReadHeaderTimeout + time.Second))
			io.WriteString(c, theirs)
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("scrape %d: %v", i, err)
			}
			io.Copy(io.Discard, resp.Body)
		}
	})
}
