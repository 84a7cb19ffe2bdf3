// Package http1 serves the one kind of request that makes up nearly all: a plain GET of one path segment over
// HTTP/1.1 (RFC 9112), without TLS, password or body, that arrives complete and alone. A connection on which
// anything else arrives goes to net/http, with every byte of it, and stays there.
//
// net/http serves that kind too, but its buffers for each connection, its goroutine that reads while a handler
// runs, and its parser cost a third of a small scrape. What a request means here has to be beyond doubt, so the
// rest is left to net/http: unusual spelling, bytes beyond ASCII, repeated header fields, headers that arrive in
// pieces.
package http1

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// Server serves plain scrapes. Its fields are set before Serve is called.
type Server struct {
	// Handler must not keep a request or its header after it returns, and must not send a status without a body
	// (204, 304). The response may have a Content-Length or not.
	Handler http.Handler
	Log     *slog.Logger

	closing atomic.Bool
}

// Serve serves the requests on c one after another and then closes c. If it meets one that is for net/http, it
// returns true, and c has all of that request to read.
func (s *Server) Serve(c *conn.Conn) (handOff bool) {
	session := newSession(c)
	for !s.closing.Load() && session.awaitRequest() {
		w := newResponseWriter(&session.sender, session.template)
		if !parse(session.received, &w.request, w.requestHeader, &w.values) {
			w.release()
			c.PushBack(session.received)
			return true
		}
		reusable := s.serve(w)
		deadline, written := w.writeDeadline(), w.written
		w.release()
		session.received = "" // The connection may be idle for long.
		if !reusable {
			c.CloseBy(deadline)
			return false
		}
		if !session.waitDrained(written, deadline) {
			c.Abort()
			return false
		}
		session.extendIdleDeadline()
	}
	c.CloseBy(time.Now().Add(limits.ErrorWriteTimeout))
	return false
}

// serve has the handler respond, and reports whether the connection can be used for another request.
func (s *Server) serve(w *responseWriter) (reusable bool) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			s.Log.Error("panic while serving a request",
				"panic", v, "scraper", w.request.RemoteAddr, "stack", string(debug.Stack()))
		}
	}()
	s.Handler.ServeHTTP(w, &w.request)
	return w.finish() == nil && !w.closeAfter
}

// Shutdown makes each connection end after the response in progress. The caller interrupts those that are idle
// (conn.Conn.Interrupt).
func (s *Server) Shutdown() { s.closing.Store(true) }

// session is the requests on one connection. While it is idle it holds no buffer.
type session struct {
	*conn.Conn
	sender     sender
	template   *http.Request         // has what all requests of the connection have in common
	received   string                // what the last read returned: mostly a request
	onReadable func(fd uintptr) bool // is s.read, made once

	idleDeadline time.Time
	undrained    int64 // bytes sent since the client was last known to have read all
}

func newSession(c *conn.Conn) *session {
	s := &session{
		Conn: c, template: newTemplate(c.Context(), c.RemoteAddr()),
		// As in net/http, the first request has to arrive at once.
		idleDeadline: time.Now().Add(limits.ReadHeaderTimeout),
	}
	s.sender.init(c)
	s.onReadable = s.read
	s.SetReadDeadline(s.idleDeadline)
	return s
}

// awaitRequest waits for the next request, and reports whether at least part of it came.
func (s *session) awaitRequest() bool {
	return s.Raw().Read(s.onReadable) == nil && s.received != ""
}

// requestBuffers has buffers to read requests into. Prometheus sends less than 1 KiB.
var requestBuffers = sync.Pool{New: func() any { return new([4 << 10]byte) }}

// read reads what has arrived: nothing if the client has closed the connection. It reports false if it may
// still arrive.
func (s *session) read(fd uintptr) (done bool) {
	buffer := requestBuffers.Get().(*[4 << 10]byte)
	n, err := rawsys.Read(int(fd), buffer[:])
	s.received = string(buffer[:max(n, 0)])
	requestBuffers.Put(buffer)
	return err != unix.EAGAIN
}

// extendIdleDeadline gives the client limits.ClientIdleTimeout for its next request, or slightly less, since
// setting a deadline costs more than reading the clock.
func (s *session) extendIdleDeadline() {
	now := time.Now()
	if s.idleDeadline.Sub(now) < limits.ClientIdleTimeout*7/8 {
		s.idleDeadline = now.Add(limits.ClientIdleTimeout)
		s.SetReadDeadline(s.idleDeadline)
	}
}

// waitDrained waits until the client has read its responses, if enough was sent to be worth a system call.
func (s *session) waitDrained(written int64, deadline time.Time) bool {
	if s.undrained += written; s.undrained <= limits.NotSentLowat {
		return true
	}
	s.undrained = 0
	return s.WaitDrained(deadline)
}
