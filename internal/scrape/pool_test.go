package scrape

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

func TestConnectionsAreKept(t *testing.T) {
	s := startService(t, t.TempDir(), respond(okResponse("x 1\n")))
	c := newClient(t)
	for range 5 {
		if body, _, err := s.scrape(t, c); body != "x 1\n" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
	}
	if n := s.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 5 scrapes, want 1", n)
	}
}

func TestConnectionsNotKept(t *testing.T) {
	for _, tt := range []struct{ name, response, body string }{
		{"Connection: close", okLine + "Connection: close\r\n" + plainType + "Content-Length: 4\r\n\r\nx 1\n", "x 1\n"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n" + plainType + "Content-Length: 4\r\n\r\nx 1\n", "x 1\n"},
		{"bytes after the length", okResponse("x 1\n") + okResponse("evil 1\n"), "x 1\n"},
		{"bytes after an empty body", okResponse("") + okResponse("evil 1\n"), ""},
		{"bytes after the last chunk", okLine + plainType + chunkedCoding + "\r\n4\r\nx 1\n\r\n0\r\n\r\n" + okResponse("evil 1\n"), "x 1\n"},
		{"one byte too many", okResponse("x 1\n") + "\n", "x 1\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), respond(tt.response))
			c := newClient(t)
			for range 3 {
				if body, _, err := s.scrape(t, c); body != tt.body || err != nil {
					t.Fatalf("body %q, %v; want %q", body, err, tt.body)
				}
			}
			if n := s.accepted.Load(); n != 3 {
				t.Errorf("%d connections for 3 scrapes, want 3", n)
			}
		})
	}
}

// Bytes that arrive after the scraper got its response must not reach the next scraper.
func TestLateBytesReachNobody(t *testing.T) {
	for name, extra := range map[string]string{
		"response":        okResponse("evil 1\n"),
		"half a response": okLine + plainType + "Content-Length: 11\r\n\r\nevil 1\n", // The next response would complete it.
		"byte":            "\n",
	} {
		t.Run(name, func(t *testing.T) {
			delivered, sent := make(chan struct{}), make(chan struct{})
			s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
				io.WriteString(c, okResponse("x 1\n"))
				select {
				case <-delivered:
				case <-t.Context().Done():
					return false
				}
				io.WriteString(c, extra)
				sent <- struct{}{}
				return true
			})
			c := newClient(t)
			for i := range 3 {
				body, _, err := s.scrape(t, c)
				if body != "x 1\n" || err != nil {
					t.Fatalf("scrape %d: body %q, %v; want x 1", i, body, err)
				}
				// What is written to a Unix socket has arrived when Write returns.
				delivered <- struct{}{}
				<-sent
			}
			if n := s.accepted.Load(); n != 3 {
				t.Errorf("%d connections for 3 scrapes, want 3", n)
			}
		})
	}
}

func TestServiceClosesIdleConnection(t *testing.T) {
	closed := make(chan struct{}, 10)
	s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
		io.WriteString(c, okResponse("x 1\n"))
		c.Close()
		closed <- struct{}{}
		return false
	})
	c := newClient(t)
	for range 3 {
		if body, _, err := s.scrape(t, c); body != "x 1\n" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
		<-closed
	}
	if c.Connections() > 1 {
		t.Errorf("%d connections open, want at most 1", c.Connections())
	}
}

// If a service closes an idle connection just when the request arrives, the scrape is
// tried again once, on a new connection.
func TestServiceClosesOnReuse(t *testing.T) {
	s := startService(t, t.TempDir(), func(c net.Conn, n int) bool {
		if n == 1 {
			return false
		}
		io.WriteString(c, okResponse("x 1\n"))
		return true
	})
	c := newClient(t)
	for range 4 {
		if body, _, err := s.scrape(t, c); body != "x 1\n" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
	}
	if n := s.accepted.Load(); n < 3 || n > 4 {
		t.Errorf("%d connections for 4 scrapes, want 3 or 4", n)
	}
}

// The same holds if it only stops reading.
func TestServiceStopsReading(t *testing.T) {
	stopped := make(chan struct{}, 10)
	s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
		io.WriteString(c, okResponse("x 1\n"))
		c.(*net.UnixConn).CloseRead()
		stopped <- struct{}{}
		<-t.Context().Done()
		return false
	})
	c := newClient(t)
	for range 3 {
		if body, _, err := s.scrape(t, c); body != "x 1\n" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
		<-stopped
	}
	if n := s.accepted.Load(); n != 3 {
		t.Errorf("%d connections for 3 scrapes, want 3", n)
	}
}

// A scrape on an idle connection that fails in any other way is not tried again.
func TestOtherFailuresAreNotRetried(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    handler // of the second request
		err  error
	}{
		{"invalid", respondAndClose("SSH-2.0-OpenSSH_9.2\r\n"), ErrInvalid},
		{"a byte, then EOF", respondAndClose("H"), ErrTruncated},
		{"half a body", respondAndClose(okLine + plainType + "Content-Length: 9\r\n\r\nx 1\n"), ErrTruncated},
		{"error status", respond("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), ErrStatus},
		{"not metrics", respond(okLine + "Content-Type: text/html\r\nContent-Length: 0\r\n\r\n"), ErrNotMetrics},
		{"timeout", respondAndHang(""), ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), func(c net.Conn, n int) bool {
				if n == 0 {
					return respond(okResponse("x 1\n"))(c, n)
				}
				return tt.h(c, n)
			})
			c := newClient(t)
			if _, _, err := s.scrape(t, c); err != nil {
				t.Fatal(err)
			}
			_, _, err := scrapeSocket(t.Context(), c, s.socket(t), newRequest(t, 500*time.Millisecond))
			if !errors.Is(err, tt.err) || len(s.requests) != 2 || s.accepted.Load() != 1 {
				t.Errorf("%v after %d requests on %d connections; want %v after 2 on 1", err, len(s.requests), s.accepted.Load(), tt.err)
			}
		})
	}
}

func TestServiceRestarts(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t)
	for round := range 3 {
		want := fmt.Sprintf("round %d\n", round)
		s := startService(t, dir, respond(okResponse(want)))
		for range 2 {
			if body, _, err := s.scrape(t, c); body != want || err != nil {
				t.Fatalf("body %q, %v; want %q", body, err, want)
			}
		}
		s.Close()
	}
}

// The old process goes on and keeps its connection, but its socket has another's place.
func TestReplacedSocketIsReachedAtOnce(t *testing.T) {
	dir := t.TempDir()
	old := startService(t, dir, respond(okResponse("old 1\n")))
	c := newClient(t)
	if body, _, err := old.scrape(t, c); body != "old 1\n" || err != nil {
		t.Fatalf("body %q, %v", body, err)
	}
	if err := os.Rename(filepath.Join(dir, "svc.sock"), filepath.Join(dir, "old.sock")); err != nil {
		t.Fatal(err)
	}
	replacement := startService(t, dir, respond(okResponse("new 1\n")))
	if body, _, err := replacement.scrape(t, c); body != "new 1\n" || err != nil {
		t.Errorf("body %q, %v; want the new process' response", body, err)
	}
}

// If a socket is replaced between lookup and dial, the connection belongs to the new one.
func TestConnectionIsKeptForSocketReached(t *testing.T) {
	dir := t.TempDir()
	old := startService(t, dir, respond(okResponse("old 1\n")))
	stale := old.socket(t)
	old.Close()
	replacement := startService(t, dir, respond(okResponse("new 1\n")))
	c := newClient(t)
	if body, _, err := scrapeSocket(t.Context(), c, stale, newRequest(t, time.Second)); body != "new 1\n" || err != nil {
		t.Fatalf("body %q, %v; want the new process' response", body, err)
	}
	if body, _, err := replacement.scrape(t, c); body != "new 1\n" || err != nil {
		t.Fatalf("body %q, %v; want the new process' response", body, err)
	}
	if n := replacement.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 2 scrapes, want 1", n)
	}
}

// After a change of mode or owner Aegis connects again, so it is denied if it no longer
// has permission.
func TestPermissionsAreCheckedAgain(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"mode":  func(path string) error { return os.Chmod(path, 0o600) },
		"owner": func(path string) error { return os.Chown(path, os.Getuid(), os.Getgid()) },
	} {
		dir := t.TempDir()
		s := startService(t, dir, respond(okResponse("x 1\n")))
		c := newClient(t)
		s.scrape(t, c)
		if err := change(filepath.Join(dir, "svc.sock")); err != nil {
			t.Fatal(err)
		}
		s.scrape(t, c)
		if n := s.accepted.Load(); n != 2 {
			t.Errorf("%d connections, want another one after the change of %s", n, name)
		}
	}
}

// addIdle puts n connections to s into the pool of c.
func addIdle(t *testing.T, c *Client, s *fakeService, n int) {
	t.Helper()
	for range n {
		conn, err := dial(t.Context(), s.socket(t), &c.pool)
		if err != nil {
			t.Fatal(err)
		}
		c.pool.put(conn)
	}
}

// The promise is 25 ms: many services have one worker, which an idle connection occupies.
func TestBackendIdleTimeout(t *testing.T) {
	if limits.BackendIdleTimeout > 25*time.Millisecond {
		t.Errorf("idle connections are kept for %v", limits.BackendIdleTimeout)
	}
}

// A service that stops may finish its old connections first.
func TestOldConnectionsAreNotKept(t *testing.T) {
	c := newClient(t)
	s := startService(t, t.TempDir(), respond(okResponse("x 1\n")))
	conn, err := dial(t.Context(), s.socket(t), &c.pool)
	if err != nil {
		t.Fatal(err)
	}
	conn.dialed = time.Now().Add(-limits.MaxBackendConnAge)
	c.pool.put(conn)
	if n := c.Connections(); n != 0 {
		t.Errorf("%d connections are kept, want none", n)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	c := newClient(t)
	old, recent := startService(t, t.TempDir(), respondAndHang("")), startService(t, t.TempDir(), respondAndHang(""))
	addIdle(t, c, old, 2)
	addIdle(t, c, recent, 2)
	// idle makes connections look as if they had been idle for d.
	idle := func(d time.Duration, conns ...*conn) {
		for _, c := range conns {
			c.idleSince = time.Now().Add(-d)
		}
	}
	conns := c.pool.byPath[recent.socket(t).String()]
	idle(limits.BackendIdleTimeout, append(c.pool.byPath[old.socket(t).String()], conns[0])...)
	idle(-time.Hour, conns[1])
	c.pool.sweep()
	if n := c.Connections(); n != 1 {
		t.Errorf("%d connections, want the one that was used recently", n)
	}
	kept := c.pool.get(recent.socket(t).String())
	if kept == nil {
		t.Fatal("the connection that was used recently was closed")
	}

	c.pool.sweep()
	if n := len(c.pool.byPath); n != 0 || c.pool.sweeper != nil {
		t.Errorf("%d sockets in an empty pool, sweeper %v", n, c.pool.sweeper)
	}
	c.pool.put(kept)
	if c.pool.sweeper == nil {
		t.Error("nothing will close the idle connection")
	}
}
