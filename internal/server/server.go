// Package server accepts connections and tracks each from accept to close: the addresses that may connect, how
// many connections there are and which gives way to another, and the drain at a stop.
//
// Connections that bring plain scrapes only are served by package http1, all others by net/http. With a web file
// (package auth), net/http serves all of them. HTTP/2 is off: a scrape gains nothing from it, and each
// connection could hold hundreds of requests.
package server

import (
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/http1"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// Config says what a Server serves, and which clients may connect.
type Config struct {
	Handler  http.Handler
	Auth     *auth.Authenticator // nil for plain HTTP without passwords
	Allow    []netip.Prefix      // addresses that may connect; empty for all
	Log      *slog.Logger
	Registry prometheus.Registerer // of the metrics of connections
}

// Server serves clients' connections. Make one with New.
type Server struct {
	log     *slog.Logger
	allow   []netip.Prefix
	tls     *tls.Config // nil for plain HTTP
	fast    *http1.Server
	slow    *http.Server
	table   table
	conns   conn.Group
	metrics metrics

	mu        sync.Mutex
	listeners []net.Listener
	accepting sync.WaitGroup
	requests  atomic.Int64 // in flight
	draining  atomic.Bool

	rejectLog, fullLog, crowdedLog, slowClientLog, overrunLog, handshakeLog limits.LogLimiter
}

// New returns a Server that does not listen yet.
func New(c Config) *Server {
	s := &Server{log: c.Log, allow: c.Allow, table: newTable(limits.MaxConns)}
	s.metrics = newMetrics(s, c.Registry)
	s.conns = conn.Group{OnClose: s.table.remove, OnSlowClient: s.slowClient, OnOverrun: s.overrun}
	handler := authorized(c.Handler)
	if c.Auth == nil {
		s.fast = &http1.Server{Handler: s.track(handler), Log: c.Log}
	} else {
		handler = c.Auth.Handler(handler)
		if s.tls = c.Auth.TLSConfig(); s.tls != nil {
			s.table.max = limits.MaxTLSConns
		}
	}
	s.slow = s.newHTTPServer(s.track(handler))
	return s
}

func (s *Server) newHTTPServer(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      handler,
		Protocols:                    protocols,
		ReadTimeout:                  limits.ReadHeaderTimeout, // Requests have no bodies.
		IdleTimeout:                  limits.ClientIdleTimeout,
		WriteTimeout:                 limits.WriteTimeout,
		MaxHeaderBytes:               limits.MaxRequestHead - 4<<10, // net/http adds 4 KiB.
		DisableGeneralOptionsHandler: true,                          // The handler refuses OPTIONS *.
		ErrorLog:                     log.New(errorLog{s}, "", 0),
		ConnState:                    waitDrained,
		ConnContext:                  func(_ context.Context, c net.Conn) context.Context { return tracked(c).Context() },
	}
}

// waitDrained waits between two requests until the client has read the response, and resets the connection if
// it does not.
func waitDrained(c net.Conn, state http.ConnState) {
	if state != http.StateIdle {
		return
	}
	if t := tracked(c); !t.WaitDrained(time.Now().Add(limits.WriteTimeout)) {
		t.Abort()
	}
}

// tracked returns the connection that net/http got from the handoff as c.
func tracked(c net.Conn) *conn.Conn {
	if encrypted, ok := c.(*tls.Conn); ok {
		c = encrypted.NetConn()
	}
	return c.(*conn.Conn)
}

// track tells the connection about its requests and counts those in flight. During a drain it has each response
// end its connection.
func (s *Server) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := conn.FromContext(r.Context())
		c.BeginRequest()
		defer c.EndRequest()
		s.requests.Add(1)
		defer s.requests.Add(-1)
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		if r.ContentLength != 0 {
			refuseBody(w)
		}
		next.ServeHTTP(w, r)
	})
}

// refuseBody makes net/http respond without reading the body of the request first, which may never come.
func refuseBody(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	http.NewResponseController(w).SetReadDeadline(time.Now())
}

// authorized notes that a request got past authentication: its connection does not give way to another any more.
func authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn.FromContext(r.Context()).MarkAuthorized()
		next.ServeHTTP(w, r)
	})
}

// Serve serves what listeners accept. It returns the error of the first listener that fails, or nil once Drain
// or Close has closed all of them. If Drain or Close was called before, Serve closes them at once.
func (s *Server) Serve(listeners []net.Listener) error {
	s.mu.Lock()
	s.listeners = listeners
	s.accepting.Add(len(listeners))
	s.mu.Unlock()
	if s.draining.Load() {
		s.closeListeners()
	}
	handoff := &handoffListener{Listener: listeners[0], conns: make(chan net.Conn), ended: make(chan struct{})}
	ended := make(chan error, len(listeners))
	var acceptors sync.WaitGroup
	for _, l := range listeners {
		acceptors.Go(func() {
			defer s.accepting.Done()
			ended <- s.accept(l, handoff)
		})
	}
	go func() {
		acceptors.Wait()
		handoff.sessions.Wait()
		close(handoff.ended)
	}()
	go s.slow.Serve(handoff)
	for range listeners {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

// Requests returns how many requests are in flight.
func (s *Server) Requests() int { return int(s.requests.Load()) }
