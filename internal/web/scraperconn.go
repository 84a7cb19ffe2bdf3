package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/scrape"
)

// scraperConn is a scraper's connection over TCP. It knows the order in which
// net/http uses a connection, and makes two things cheap that are not in
// net/http: sending the head of an answer together with its body, and noticing
// that the scraper hung up.
type scraperConn struct {
	*net.TCPConn

	// Used by the goroutine that answers, alone.
	hold bool // a small Write waits for the one after it
	held *smallWrite
	both [2][]byte

	gone   chan struct{} // closed when the scraper hangs up
	mu     sync.Mutex
	onGone func() // called then
	forget func() bool
}

// smallWrite holds what net/http writes before the body or a part of it: its
// buffer of 4 KiB.
type smallWrite struct {
	n     int
	bytes [4 << 10]byte
}

var smallWrites = sync.Pool{New: func() any { return new(smallWrite) }}

func newScraperConn(c *net.TCPConn) *scraperConn {
	s := &scraperConn{TCPConn: c, gone: make(chan struct{})}
	s.forget = s.forgetGone
	return s
}

type scraperConnKey struct{}

// withScraperConn makes c known to the handlers of its requests.
func withScraperConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, scraperConnKey{}, c)
}

// scraperConnOf returns the connection on which r came, nil if that is another
// kind: over TLS, say, there is more between it and the answer.
func scraperConnOf(r *http.Request) *scraperConn {
	c, _ := r.Context().Value(scraperConnKey{}).(*scraperConn)
	return c
}

// Read reads, and notices the end. While a request is answered net/http reads
// for no other reason.
func (c *scraperConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n == len(p) {
		// There may be more, without end: a scraper that sends faster than it is
		// answered has the others wait for it only this long.
		runtime.Gosched()
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.hangUp()
	}
	return n, err
}

func (c *scraperConn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isGone() {
		return
	}
	close(c.gone)
	if c.onGone != nil {
		c.onGone()
		c.onGone = nil
	}
}

// afterGone arranges to call f when the scraper hangs up: one f at a time, as one
// thing at a time is done for a scrape. The function that it
// returns takes that back, and reports whether it was in time.
func (c *scraperConn) afterGone(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isGone() {
		go f()
	} else {
		c.onGone = f
	}
	return c.forget
}

func (c *scraperConn) forgetGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	inTime := c.onGone != nil
	c.onGone = nil
	return inTime
}

func (c *scraperConn) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// together has small writes wait for the one after them, until apart.
func (c *scraperConn) together() { c.hold = true }

// Write writes p, after what was held back.
func (c *scraperConn) Write(p []byte) (int, error) {
	if c.held == nil {
		if !c.hold || len(p) > len(smallWrite{}.bytes) {
			return c.TCPConn.Write(p)
		}
		c.held = smallWrites.Get().(*smallWrite)
		c.held.n = copy(c.held.bytes[:], p)
		return len(p), nil
	}
	held := c.held
	c.held = nil
	c.both = [2][]byte{held.bytes[:held.n], p}
	buffers := net.Buffers(c.both[:])
	n, err := buffers.WriteTo(c.TCPConn)
	c.both = [2][]byte{}
	ofP := max(int(n)-held.n, 0)
	smallWrites.Put(held)
	return ofP, err
}

// ReadFrom copies from r, in the kernel where that is a Unix connection, after
// what was held back.
func (c *scraperConn) ReadFrom(r io.Reader) (int64, error) {
	if c.held != nil {
		if _, err := c.Write(nil); err != nil {
			return 0, err
		}
	}
	return c.TCPConn.ReadFrom(r)
}

// apart ends what together began: whatever of the answer is still held back, here
// or in w, is written. The error wraps scrape.ErrCanceled.
func (c *scraperConn) apart(w http.ResponseWriter) error {
	c.hold = false
	if c.held == nil {
		return nil
	}
	err := http.NewResponseController(w).Flush()
	if c.held != nil {
		_, err = c.Write(nil)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", scrape.ErrCanceled, err)
	}
	return nil
}

// scrapeContext is the context of a scrape. It knows its deadline and leaves it
// to who waits to watch the clock, as the folder and the scrape do: most scrapes
// take less time than a timer is worth.
type scrapeContext struct {
	context.Context // of the request
	deadline        time.Time
	conn            *scraperConn // may be nil
}

// Deadline returns when who works for this context has to stop.
func (c *scrapeContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Err returns why the context has ended, but not for its deadline.
func (c *scrapeContext) Err() error {
	switch {
	case c.conn == nil:
		return c.Context.Err()
	case c.conn.isGone():
		return context.Canceled
	}
	return nil
}

// Done is closed when the scraper hangs up.
func (c *scrapeContext) Done() <-chan struct{} {
	if c.conn != nil {
		return c.conn.gone
	}
	return c.Context.Done()
}

// AfterFunc is what context.AfterFunc asks for: it calls f when the scraper hangs
// up.
func (c *scrapeContext) AfterFunc(f func()) (stop func() bool) {
	if c.conn != nil {
		return c.conn.afterGone(f)
	}
	return context.AfterFunc(c.Context, f)
}
