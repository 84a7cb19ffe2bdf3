package http1

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
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
	buf     *buffer
	n       int
	readErr error

	idleUntil time.Time
	gone      *gone
	watch     *time.Timer   // of the request that is answered
	answered  atomic.Bool   // the watch is to end
	watched   chan struct{} // has an element when it has
	sent      int64         // since the scraper had taken all

	// readable and writable as functions, made once.
	onReadable, onWritable func(fd uintptr) bool
	parts                  [][]byte // to be written
	flags                  int      // of writing
	wrote                  int
	writeErr               error
}

// buffer holds a request. Prometheus sends under 1 KiB.
type buffer [4 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func newConn(s *Server, tcp *net.TCPConn, h *handover) (*conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{TCPConn: tcp, server: s, handover: h, raw: raw, gone: newGone(), watched: make(chan struct{}, 1)}
	c.blank = blankRequest(c.gone, tcp.RemoteAddr())
	c.onReadable, c.onWritable = c.readable, c.writable
	c.watch = time.AfterFunc(time.Hour, c.watchHangUp)
	c.watch.Stop()
	// As in net/http, the first request has to come at once.
	c.SetReadDeadline(time.Now().Add(limits.ReadHeaderTimeout))
	return c, nil
}

// serve answers one request after the other, until one comes that is for
// net/http, or the connection ends.
func (c *conn) serve() {
	defer c.server.forget(c)
	for !c.server.closing.Load() && c.await() {
		e := exchanges.Get().(*exchange)
		if !e.take(c, c.buf[:c.n]) {
			exchanges.Put(e)
			c.handOver()
			return
		}
		c.giveBuffer()
		again := c.answer(e)
		taken := c.settle(e, again)
		e.reset()
		exchanges.Put(e)
		if !taken {
			reset(c.TCPConn)
		}
		if !taken || !again {
			break
		}
		c.keepIdle()
	}
	c.giveBuffer()
	c.Close()
}

// settle waits until the scraper has taken its answer, where that is worth a system
// call: where the connection ends with it, or much was sent. It reports false if the
// scraper has not.
func (c *conn) settle(e *exchange, again bool) bool {
	c.sent += e.written
	if again && c.sent <= limits.NotSentLowat {
		return true
	}
	c.sent = 0
	return c.server.settle(c.raw, e.writeDeadline())
}

// await waits for the next request, and reports whether there is one, or the
// beginning of one.
func (c *conn) await() bool {
	c.readErr = nil
	err := c.raw.Read(c.onReadable)
	return err == nil && c.readErr == nil && c.n > 0
}

// readable reads what has come, if anything has.
func (c *conn) readable(fd uintptr) (done bool) {
	c.buf = buffers.Get().(*buffer)
	c.n, c.readErr = rawsys.Read(int(fd), c.buf[:])
	if c.readErr == unix.EAGAIN {
		c.giveBuffer()
		return false
	}
	return true
}

func (c *conn) giveBuffer() {
	if c.buf != nil {
		buffers.Put(c.buf)
		c.buf = nil
	}
}

// keepIdle gives the client IdleTimeout for its next request, or up to an eighth less:
// setting a deadline costs more than looking at the clock.
func (c *conn) keepIdle() {
	now, timeout := time.Now(), cmp.Or(c.server.IdleTimeout, limits.ClientIdleTimeout)
	if c.idleUntil.Sub(now) < timeout*7/8 {
		c.idleUntil = now.Add(timeout)
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
	c.answered.Store(false)
	c.watch.Reset(limits.HangUpCheckDelay)
	again = c.handle(e) && e.finish() == nil && !e.closes
	if !c.watch.Stop() {
		c.answered.Store(true)
		c.SetReadDeadline(longAgo)
		<-c.watched
		c.idleUntil = time.Time{} // The deadline is to be set anew.
	}
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

// watchHangUp waits until the scraper hangs up, or the request is answered. Most are
// before it begins.
func (c *conn) watchHangUp() {
	defer func() { c.watched <- struct{}{} }()
	for {
		// That of waiting for this request, or one that was to wake who is idle.
		c.SetReadDeadline(time.Time{})
		if c.answered.Load() {
			return
		}
		// Whatever it sends before, as its next request, is for later.
		if err := c.raw.Read(closedBehind); !errors.Is(err, os.ErrDeadlineExceeded) {
			if err == nil {
				c.gone.hangUp()
			}
			return
		}
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
	n, err := rawsys.Send(int(fd), c.parts, c.flags)
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
			moved, err = rawsys.Splice(pipe, int(fd), n-written)
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
