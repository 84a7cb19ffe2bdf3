package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// load is clients that scrape without pause over kept connections. They retry nothing.
type load struct {
	addr  string
	paths []string

	scrapes, failed, refused atomic.Int64
	slowest                  atomic.Int64 // nanoseconds
	mu                       sync.Mutex
	errs                     []error // the first few
	stop                     context.CancelFunc
	done                     sync.WaitGroup
}

// startLoad runs clients that scrape paths at addr until finish is called.
func startLoad(t *testing.T, addr string, clients int, paths ...string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{addr: addr, paths: paths, stop: stop}
	for i := range clients {
		l.done.Go(func() { l.client(ctx, i) })
	}
	return l
}

// finish ends the load. It returns how it went, in words.
func (l *load) finish() string {
	l.stop()
	l.done.Wait()
	return fmt.Sprintf("%d scrapes, %d failed, %d connections refused, slowest %v",
		l.scrapes.Load(), l.failed.Load(), l.refused.Load(), time.Duration(l.slowest.Load()).Round(time.Millisecond))
}

// more waits until n more scrapes were made.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	until := l.scrapes.Load() + n
	waitFor(t, "more scrapes", func() bool { return l.scrapes.Load() >= until })
}

func (l *load) client(ctx context.Context, i int) {
	var c *keptConn
	for ; ctx.Err() == nil; i++ {
		// A client sees before it sends that its connection was closed while idle. That
		// costs nothing.
		if c != nil && c.peerClosed() {
			c.Close()
			c = nil
		}
		start := time.Now()
		err := l.scrape(&c, l.paths[i%len(l.paths)])
		l.scrapes.Add(1)
		if took := int64(time.Since(start)); took > l.slowest.Load() {
			l.slowest.Store(took)
		}
		if err != nil {
			l.fail(err)
			if c != nil {
				c.Close()
				c = nil
			}
		}
	}
	if c != nil {
		c.Close()
	}
}

func (l *load) fail(err error) {
	l.failed.Add(1)
	if errors.Is(err, syscall.ECONNREFUSED) {
		l.refused.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) < 5 {
		l.errs = append(l.errs, err)
	}
}

// keptConn is a client's connection.
type keptConn struct {
	net.Conn
	r *bufio.Reader
}

// scrape scrapes path over *c, which it dials if it is nil. It closes the connection if the
// response says so.
func (l *load) scrape(c **keptConn, path string) error {
	if *c == nil {
		conn, err := net.Dial("tcp", l.addr)
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		*c = &keptConn{conn, bufio.NewReader(conn)}
	}
	(*c).SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := fmt.Fprintf(*c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, l.addr); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	resp, err := http.ReadResponse((*c).r, nil)
	if err != nil {
		return fmt.Errorf("reading the header: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the body: %w", err)
	case resp.StatusCode != 200:
		return fmt.Errorf("%s: %s", resp.Status, body)
	case string(body) != sampleBody(path):
		return fmt.Errorf("%s: wrong body: %.60q", path, body)
	}
	if resp.Close {
		(*c).Close()
		*c = nil
	}
	return nil
}

// sampleBody returns the body of the service behind path.
func sampleBody(path string) string { return "# TYPE up_" + path[1:] + " gauge\n" }

// peerClosed reports whether the other side has closed the connection.
func (c *keptConn) peerClosed() bool {
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = err == nil && n == 0 || err != nil && err != syscall.EAGAIN
	})
	return closed
}
