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
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// answer is a whole answer of which body is the body.
func answer(body string) string {
	return fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n%s", ok, plain, len(body), body)
}

func TestConnectionsAreKept(t *testing.T) {
	p := listen(t, t.TempDir(), says(answer("x 1\n")))
	c := newClient(t)
	for range 5 {
		if body, _, err := p.scrape(t, c); body != "x 1\n" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
	}
	if n := p.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 5 scrapes, want 1", n)
	}
	c.Retain(map[socketdir.ID]bool{p.socket(t).ID: true})
	if n := c.Connections(); n != 1 {
		t.Errorf("%d connections after retaining the socket's, want 1", n)
	}
	c.Retain(nil)
	if n := c.Connections(); n != 0 {
		t.Errorf("%d connections after retaining none", n)
	}
}

func TestConnectionsNotKept(t *testing.T) {
	for _, tt := range []struct{ name, response, body string }{
		{"asked to close", ok + "Connection: close\r\n" + plain + "Content-Length: 4\r\n\r\nx 1\n", "x 1\n"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n" + plain + "Content-Length: 4\r\n\r\nx 1\n", "x 1\n"},
		{"bytes after length", answer("x 1\n") + answer("evil 1\n"), "x 1\n"},
		{"bytes after nothing", answer("") + answer("evil 1\n"), ""},
		{"bytes after chunks", ok + plain + chunked + "\r\n4\r\nx 1\n\r\n0\r\n\r\n" + answer("evil 1\n"), "x 1\n"},
		{"a byte too many", answer("x 1\n") + "\n", "x 1\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := listen(t, t.TempDir(), says(tt.response))
			c := newClient(t)
			for range 3 {
				if body, _, err := p.scrape(t, c); body != tt.body || err != nil {
					t.Fatalf("body %q, %v; want %q", body, err, tt.body)
				}
			}
			if n := p.accepted.Load(); n != 3 {
				t.Errorf("%d connections for 3 scrapes, want 3", n)
			}
		})
	}
}

// Bytes that come when the answer is long delivered must not be the next
// scraper's.
func TestLateBytesReachNobody(t *testing.T) {
	for name, extra := range map[string]string{
		"an answer":      answer("evil 1\n"),
		"half an answer": ok + plain + "Content-Length: 11\r\n\r\nevil 1\n", // and the next ends it
		"a byte":         "\n",
	} {
		t.Run(name, func(t *testing.T) {
			delivered, late := make(chan struct{}), make(chan struct{})
			p := listen(t, t.TempDir(), func(c net.Conn, _ int) bool {
				io.WriteString(c, answer("x 1\n"))
				select {
				case <-delivered:
				case <-t.Context().Done():
					return false
				}
				io.WriteString(c, extra)
				late <- struct{}{}
				return true
			})
			c := newClient(t)
			for i := range 3 {
				body, _, err := p.scrape(t, c)
				if body != "x 1\n" || err != nil {
					t.Fatalf("scrape %d: body %q, %v; want x 1", i, body, err)
				}
				// What was written to a Unix socket has come when it is written.
				delivered <- struct{}{}
				<-late
			}
			if n := p.accepted.Load(); n != 3 {
				t.Errorf("%d connections for 3 scrapes, want 3", n)
			}
		})
	}
}

func TestServiceClosesIdleConnection(t *testing.T) {
	closedIt := make(chan struct{}, 10)
	p := listen(t, t.TempDir(), func(c net.Conn, _ int) bool {
		io.WriteString(c, answer("x 1\n"))
		c.Close()
		closedIt <- struct{}{}
		return false
	})
	c := newClient(t)
	for range 3 {
		if body, _, err := p.scrape(t, c); body != "x 1\n" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
		<-closedIt
	}
	if c.Connections() > 1 {
		t.Errorf("%d connections open, want at most the last", c.Connections())
	}
}

// A service that closes a kept connection just when the request arrives costs
// no scrape, and is asked again only once.
func TestServiceClosesOnReuse(t *testing.T) {
	p := listen(t, t.TempDir(), func(c net.Conn, request int) bool {
		if request == 1 {
			return false
		}
		io.WriteString(c, answer("x 1\n"))
		return true
	})
	c := newClient(t)
	for range 4 {
		if body, _, err := p.scrape(t, c); body != "x 1\n" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
	}
	if n := p.accepted.Load(); n < 3 || n > 4 {
		t.Errorf("%d connections, want one for each scrape but the first retry", n)
	}
}

// So does one that reads no more on a kept connection, and stays.
func TestServiceReadsNoMore(t *testing.T) {
	deaf := make(chan struct{}, 10)
	p := listen(t, t.TempDir(), func(c net.Conn, _ int) bool {
		io.WriteString(c, answer("x 1\n"))
		c.(*net.UnixConn).CloseRead()
		deaf <- struct{}{}
		<-t.Context().Done()
		return false
	})
	c := newClient(t)
	for range 3 {
		if body, _, err := p.scrape(t, c); body != "x 1\n" || err != nil {
			t.Fatalf("body %q, %v", body, err)
		}
		<-deaf
	}
	if n := p.accepted.Load(); n != 3 {
		t.Errorf("%d connections for 3 scrapes, want 3", n)
	}
}

func TestServiceRestarts(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t)
	for round := range 3 {
		want := fmt.Sprintf("round %d\n", round)
		p := listen(t, dir, says(answer(want)))
		for range 2 {
			if body, _, err := p.scrape(t, c); body != want || err != nil {
				t.Fatalf("body %q, %v; want %q", body, err, want)
			}
		}
		p.Close()
	}
}

// The old process lives on and holds its kept connection, but the name means
// the new one's socket.
func TestReplacedSocketIsReachedAtOnce(t *testing.T) {
	dir := t.TempDir()
	old := listen(t, dir, says(answer("old 1\n")))
	c := newClient(t)
	if body, _, err := old.scrape(t, c); body != "old 1\n" || err != nil {
		t.Fatalf("body %q, %v", body, err)
	}
	if err := os.Rename(filepath.Join(dir, "svc.sock"), filepath.Join(dir, "old.sock")); err != nil {
		t.Fatal(err)
	}
	replacement := listen(t, dir, says(answer("new 1\n")))
	if body, _, err := replacement.scrape(t, c); body != "new 1\n" || err != nil {
		t.Errorf("body %q, %v; want the new process' answer", body, err)
	}
}

// A socket that is replaced between the look at it and the dial: the connection is
// the new one's.
func TestConnectionIsKeptForWhatItReached(t *testing.T) {
	dir := t.TempDir()
	old := listen(t, dir, says(answer("old 1\n")))
	stale := old.socket(t)
	old.Close()
	replacement := listen(t, dir, says(answer("new 1\n")))
	c := newClient(t)
	if body, _, err := scrapeSocket(t.Context(), c, stale, scraper(t, "", time.Second)); body != "new 1\n" || err != nil {
		t.Fatalf("body %q, %v; want the new process' answer", body, err)
	}
	if body, _, err := replacement.scrape(t, c); body != "new 1\n" || err != nil {
		t.Fatalf("body %q, %v; want the new process' answer", body, err)
	}
	if n := replacement.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 2 scrapes, want 1", n)
	}
}

// A change of mode or owner makes Aegis connect anew, so that it is refused where
// it may not connect any more.
func TestPermissionsAreCheckedAgain(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"mode":  func(path string) error { return os.Chmod(path, 0o600) },
		"owner": func(path string) error { return os.Chown(path, os.Getuid(), os.Getgid()) },
	} {
		dir := t.TempDir()
		p := listen(t, dir, says(answer("x 1\n")))
		c := newClient(t)
		p.scrape(t, c)
		if err := change(filepath.Join(dir, "svc.sock")); err != nil {
			t.Fatal(err)
		}
		p.scrape(t, c)
		if n := p.accepted.Load(); n != 2 {
			t.Errorf("%d connections, want another after the change of %s", n, name)
		}
	}
}

func TestBusy(t *testing.T) {
	p := listen(t, t.TempDir(), hangs(""))
	c := newClient(t)
	socket := p.socket(t)
	results := make(chan error, limits.MaxScrapesPerTarget)
	ctx := t.Context()
	for range limits.MaxScrapesPerTarget {
		go func() {
			_, _, err := scrapeSocket(ctx, c, socket, scraper(t, "", 300*time.Millisecond))
			results <- err
		}()
	}
	eventually(t, "all scrapes under way", func() bool { return c.InFlight() == limits.MaxScrapesPerTarget })
	if _, err := c.Get(t.Context(), socket, scraper(t, "", time.Second)); !errors.Is(err, ErrTooMany) {
		t.Errorf("one scrape more than allowed: %v, want %v", err, ErrTooMany)
	}
	neighbour := listen(t, t.TempDir(), says(answer("x 1\n")))
	if _, _, err := neighbour.scrape(t, c); err != nil {
		t.Errorf("a neighbour's scrape meanwhile: %v", err)
	}
	for range limits.MaxScrapesPerTarget {
		if err := <-results; !errors.Is(err, ErrTimeout) {
			t.Errorf("a scrape that was admitted: %v, want %v", err, ErrTimeout)
		}
	}
	if n := c.InFlight(); n != 0 {
		t.Errorf("%d scrapes in flight afterwards", n)
	}
}

// fill puts n connections to dir's svc into p, as if they were to id.
func fill(t *testing.T, p *pool, c *Client, id socketdir.ID, dir string, n int) {
	t.Helper()
	for range n {
		s, err := socketdir.New(dir).Lookup(t.Context(), "svc")
		if err != nil {
			t.Fatal(err)
		}
		cn, err := dial(t.Context(), s, &c.open)
		if err != nil {
			t.Fatal(err)
		}
		cn.id = id
		p.mu.Lock()
		p.keep(p.service(id), cn)
		p.mu.Unlock()
	}
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	const most = 5 * limits.MaxIdlePerTarget
	defer func(real func() int) { mostIdle = real }(mostIdle)
	mostIdle = func() int { return most }
	dir := t.TempDir()
	peer := listen(t, dir, hangs(""))
	c := newClient(t)
	one := peer.socket(t).ID
	fill(t, &c.pool, c, one, dir, limits.MaxIdlePerTarget+3)
	if n := c.Connections(); n != limits.MaxIdlePerTarget {
		t.Errorf("%d idle connections to one socket, want %d", n, limits.MaxIdlePerTarget)
	}
	others := t.TempDir()
	for i := range most/limits.MaxIdlePerTarget + 2 {
		sub := filepath.Join(others, fmt.Sprint(i))
		os.Mkdir(sub, 0o700)
		s := listen(t, sub, hangs(""))
		fill(t, &c.pool, c, s.socket(t).ID, sub, limits.MaxIdlePerTarget)
	}
	if n := c.Connections(); n != most {
		t.Errorf("%d idle connections in all, want %d", n, most)
	}
	service, kept, err := c.pool.admit(one)
	if err != nil || kept == nil {
		t.Errorf("a connection was closed that a scraper on its round needs next (%v)", err)
	}
	c.pool.leave(service, kept)
	// As if limits.BackendIdleTimeout had passed.
	c.pool.mu.Lock()
	for idle := c.pool.idle.oldest; idle != nil; idle = idle.newer {
		idle.idleSince = time.Now().Add(-limits.BackendIdleTimeout)
	}
	c.pool.mu.Unlock()
	c.pool.sweep()
	if n := c.Connections(); n != 0 {
		t.Errorf("%d connections idle for too long", n)
	}
	if n := len(c.pool.services); n != 0 {
		t.Errorf("%d services remembered of which nothing is left", n)
	}
}
