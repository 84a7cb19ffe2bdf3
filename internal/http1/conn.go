package http1

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/nowait"
)

// conn is a scraper's connection. While it is idle it holds no buffer.
type conn struct {
	*net.TCPConn
	server   *Server
	handover *handover
	raw      syscall.RawConn
	blank    *http.Request // of this connection
	request  http.Request  // blank, filled in, for one after the other
	url      url.URL

	// Of the request that comes; nil and nothing while idle.
	buf *buffer
	n   int

	end       end // how the connection is over, when it is
	idleUntil time.Time
	gone      *gone
	watch     *time.Timer // of the request that is answered
	answering atomic.Bool
	sent      int64 // since the scraper had taken all

	// writable as a function, made once.
	onWritable func(fd uintptr) bool
	parts      [][]byte // to be written
	flags      int      // of writing
	wrote      int
	writeErr   error
}

// buffer holds a request. Prometheus sends under 1 KiB.
type buffer [4 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func newConn(s *Server, tcp *net.TCPConn, h *handover) (*conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{TCPConn: tcp, server: s, handover: h, raw: raw, gone: newGone()}
	c.blank = blankRequest(c.gone, tcp.RemoteAddr())
	c.onWritable = c.writable
	c.watch = time.AfterFunc(time.Hour, c.look)
	c.watch.Stop()
	// As in net/http, the first request has to come at once.
	c.idleUntil = time.Now().Add(limits.ReadHeaderTimeout)
	c.SetReadDeadline(c.idleUntil)
	return c, nil
}

// end is how a connection is over, as far as it is served here.
type end int

const (
	closed   end = iota
	notTaken     // the scraper has not taken its answer
	foreign      // what came is for net/http
)

// serve answers one request after the other, until one comes that is for
// net/http, or the connection ends. All of them come within one wait: what comes
// while a request is answered ends the next wait for one, so that nobody has to look
// for what is not there yet.
func (c *conn) serve() {
	defer c.server.forget(c)
	if !c.server.closing.Load() {
		c.raw.Read(c.readable)
	}
	switch c.end {
	case foreign:
		c.handOver()
	case notTaken:
		reset(c.TCPConn)
	default:
		c.Close()
	}
}

// readable is called with the connection's descriptor, first at once and then, as
// long as it returns false, whenever something has come, and answers that.
func (c *conn) readable(fd uintptr) (over bool) {
	var err error
	c.buf = buffers.Get().(*buffer)
	c.n, err = nowait.Read(int(fd), c.buf[:])
	if err != nil || c.n == 0 {
		c.giveBuffer()
		return err != unix.EAGAIN
	}
	e := exchanges.Get().(*exchange)
	if !e.take(c, c.buf[:c.n]) {
		exchanges.Put(e)
		c.end = foreign
		return true
	}
	c.giveBuffer()
	again := c.answer(e)
	if !c.settle(e, again) {
		c.end = notTaken
	}
	e.reset()
	exchanges.Put(e)
	if !again || c.end == notTaken {
		return true
	}
	c.keepIdle()
	return c.server.closing.Load()
}

// settle waits until the scraper has taken its answer, where that is worth a system
// call: where the connection ends with it, or much was sent. It reports false if the
// scraper has not.
func (c *conn) settle(e *exchange, again bool) bool {
	c.sent += e.written
	if again && c.sent <= limits.Unsent {
		return true
	}
	c.sent = 0
	return c.server.settle(c.raw, e.writeDeadline())
}

func (c *conn) giveBuffer() {
	if c.buf != nil {
		buffers.Put(c.buf)
		c.buf = nil
	}
}

// keepIdle gives the scraper time for its next request: limits.IdleTimeout, less
// a little, as setting a deadline costs more than looking at the clock.
func (c *conn) keepIdle() {
	now := time.Now()
	if c.idleUntil.Sub(now) < limits.IdleTimeout*7/8 {
		c.idleUntil = now.Add(limits.IdleTimeout)
		c.SetReadDeadline(c.idleUntil)
	}
}

// wake ends the wait for a next request.
func (c *conn) wake() { c.SetReadDeadline(longAgo) }

var longAgo = time.Unix(1, 0)

// handOver gives the connection to net/http, with what was read of it.
func (c *conn) handOver() {
	read := append([]byte(nil), c.buf[:c.n]...)
	c.giveBuffer()
	c.server.yield(c)
	c.SetReadDeadline(time.Time{})
	c.handover.give(&fair{TCPConn: c.TCPConn, server: c.server, raw: c.raw, read: read})
}

// answer has the handler answer, and reports whether the connection is fit for
// another request.
func (c *conn) answer(e *exchange) (again bool) {
	c.answering.Store(true)
	c.watch.Reset(limits.WatchAfter)
	again = c.handle(e) && e.finish() == nil && !e.closes
	c.answering.Store(false)
	c.watch.Stop()
	return again
}

// handle calls the handler, and reports whether it came to its end.
func (c *conn) handle(e *exchange) (ended bool) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			c.server.Log.Error("panic while answering a request", "panic", v, "scraper", c.request.RemoteAddr, "stack", string(debug.Stack()))
		}
	}()
	c.server.Handler.ServeHTTP(e, &c.request)
	return true
}

// look looks, now and then while a request is answered, whether the scraper has hung
// up. When its next request has come it cannot be seen any more.
func (c *conn) look() {
	if !c.answering.Load() {
		return
	}
	var (
		n   int
		err error
	)
	failed := c.raw.Control(func(fd uintptr) {
		var next [1]byte
		n, _, err = unix.Recvfrom(int(fd), next[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	switch {
	case failed != nil:
	case err == unix.EAGAIN:
		c.watch.Reset(limits.WatchAfter)
	case err != nil || n == 0:
		c.gone.hangUp()
	}
}

// next is when what comes after parts is sent.
type next int

const (
	unknown next = 0
	soon    next = unix.MSG_MORE // so it may go in one packet with these
)

// send writes parts, before deadline: mostly at once, so that the deadline need
// not be set.
func (c *conn) send(parts [][]byte, deadline time.Time, next next) error {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	c.parts, c.flags, c.wrote, c.writeErr = parts, int(next), 0, nil
	err := c.raw.Write(c.onWritable)
	c.parts = nil
	if err == nil {
		err = c.writeErr
	}
	if err != nil && !errors.Is(err, unix.EAGAIN) || c.wrote == total {
		return err
	}
	rest := make(net.Buffers, 0, len(parts))
	for _, p := range parts {
		skip := min(c.wrote, len(p))
		c.wrote -= skip
		rest = append(rest, p[skip:])
	}
	c.SetWriteDeadline(deadline)
	defer c.SetWriteDeadline(time.Time{})
	_, err = rest.WriteTo(c.TCPConn)
	return err
}

// writable writes what the connection takes.
func (c *conn) writable(fd uintptr) (done bool) {
	n, err := nowait.Send(int(fd), c.parts, c.flags)
	c.wrote, c.writeErr = max(n, 0), err
	return true
}

// splice writes n bytes from pipe, which holds them, before deadline, and returns how
// many it wrote: all, if there is no error.
func (c *conn) splice(pipe, n int, deadline time.Time) (written int, err error) {
	patient := false
	move := func(fd uintptr) (done bool) {
		for err = nil; err == nil && written < n; {
			var moved int
			moved, err = nowait.Splice(pipe, int(fd), n-written)
			written += max(moved, 0)
		}
		return err != unix.EAGAIN || !patient
	}
	failed := c.raw.Write(move)
	if failed == nil && err == unix.EAGAIN {
		patient = true
		c.SetWriteDeadline(deadline)
		defer c.SetWriteDeadline(time.Time{})
		failed = c.raw.Write(move)
	}
	if failed != nil {
		err = failed
	}
	return written, err
}
