// Package http1 serves the one kind of request of which there are many: a GET
// over HTTP/1.1 (RFC 9112) without TLS and without a body, which came whole and
// alone. A connection on which anything else comes goes to net/http, with every
// byte of it, and stays there.
//
// net/http serves that kind, too, but is made for all others: its buffers for each
// connection, its goroutine that reads while a request is answered, and what it
// parses cost a third of a small scrape. Who is here has to be understood by one
// reader only, so what is not beyond doubt is left to net/http: odd spelling,
// bytes beyond ASCII, a field twice, a head that comes in pieces.
package http1

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves connections. Its fields are set before Listen.
type Server struct {
	// Handler answers the requests. It must not keep a request or its header
	// after it returns. What it writes may be of known length (Content-Length) or
	// not; a status without a body (204, 304) is none of this package's.
	Handler http.Handler
	Log     *slog.Logger
	// IdleTimeout is how long a connection may wait for its next request;
	// limits.ClientIdleTimeout if zero.
	IdleTimeout time.Duration
	// NotTaken is called for each connection that is reset since its scraper did not
	// take an answer, if not nil.
	NotTaken func()
	// Unasked is called for each connection of Fair that is reset since it sent too
	// much without a request, if not nil.
	Unasked func(scraper net.Addr)

	mu      sync.Mutex
	conns   map[*conn]state
	closing atomic.Bool
	slow    takers

	lingering atomic.Int32 // connections that have ended on this side

	accepting sync.WaitGroup // on listeners
}

// state is whose a connection is.
type state bool

const (
	ours       state = false
	handedOver state = true // or nearly: net/http may have it already
)

// Listen takes what l accepts, over TCP, and returns a listener with the
// connections that are for net/http. Who serves that has l served. An error of l
// ends it; connections that are served here are still handed over until the last
// of them has ended.
func (s *Server) Listen(l net.Listener) net.Listener {
	h := &handover{Listener: l, conns: make(chan net.Conn), over: make(chan struct{})}
	s.accepting.Add(1)
	go func() {
		h.err = s.accept(l, h)
		s.accepting.Done()
		h.own.Wait()
		close(h.over)
	}()
	return h
}

func (s *Server) accept(l net.Listener, h *handover) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			h.give(c)
			continue
		}
		if own, err := s.add(tcp, h); err != nil {
			c.Close()
		} else {
			h.own.Go(own.serve)
		}
	}
}

// Ended waits until all listeners have ended: nothing more is accepted.
func (s *Server) Ended() { s.accepting.Wait() }

// Connections returns how many connections are served here, with those that are
// just handed over.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) add(tcp *net.TCPConn, h *handover) (*conn, error) {
	c, err := newConn(s, tcp, h)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = make(map[*conn]state)
	}
	s.conns[c] = ours
	return c, nil
}

// yield makes c a connection whose deadlines are no longer set here.
func (s *Server) yield(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = handedOver
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Shutdown closes the idle connections, and the others when their request is
// answered. It waits for that until ctx ends, whose error it returns then.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closing.Store(true)
	s.mu.Lock()
	for c, state := range s.conns {
		if state == ours {
			c.wake()
		}
	}
	s.mu.Unlock()
	for s.Connections() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Close closes all connections. The requests under way end as if their scrapers had
// hung up.
func (s *Server) Close() {
	s.closing.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
		c.gone.hangUp()
	}
}
