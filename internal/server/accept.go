package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// accept serves the connections that l accepts, until l is closed. No other failure to accept ends it.
func (s *Server) accept(l net.Listener, handoff *handoffListener) error {
	limitBuffers(l)
	for failures := 0; ; {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			if s.draining.Load() {
				return nil
			}
			return err
		case err != nil:
			s.waitToAccept(failures, err)
			failures++
			continue
		}
		failures = 0
		if !s.allows(c.RemoteAddr()) {
			s.reject(c)
			continue
		}
		if tracked := s.admit(c); tracked != nil {
			s.serve(tracked, handoff)
		}
	}
}

// limitBuffers bounds what the kernel holds for each connection of l. Connections inherit it.
func limitBuffers(l net.Listener) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, limits.NotSentLowat)
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, limits.RecvBufSize)
		})
	}
}

// waitToAccept waits after accepting failed with err: descriptors or memory are short. Clients that wait to be
// accepted are not lost.
func (s *Server) waitToAccept(failures int, err error) {
	pause := min(5*time.Millisecond<<min(failures, 10), limits.MaxAcceptRetryInterval)
	s.log.Warn("accepting a connection failed; clients wait until it succeeds",
		"error", err, "retry_in", pause)
	time.Sleep(pause)
}

// ParsePrefixes reads the value of -allow: addresses and prefixes, separated by commas. The error names the one
// that is neither.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		p, err := targetsfile.ParsePrefix(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("%w; separate several by commas, without names or brackets", err)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// allows reports whether a client at remote may connect. Only TCP has addresses.
func (s *Server) allows(remote net.Addr) bool {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok || len(s.allow) == 0 {
		return true
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(s.allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func (s *Server) reject(c net.Conn) {
	c.Close()
	s.metrics.rejected.Inc()
	if count, ok := s.rejectLog.Allow(); ok {
		s.log.Warn("connection rejected: -allow does not name its address",
			"address", c.RemoteAddr().String(), "count", count)
	}
}

// admit adds c to the table, where another connection may have to give way. It returns nil if there is no room.
func (s *Server) admit(c net.Conn) *conn.Conn {
	tracked := s.conns.New(c, s.tls != nil)
	evicted, added := s.table.add(tracked)
	if evicted != nil || !added {
		limits.Yield() // At the limit, each connection makes add look at all others.
	}
	if evicted != nil {
		if count, ok := s.crowdedLog.Allow(); ok {
			s.log.Warn("connection limit reached; closing idle connections that made no valid request",
				"limit", s.table.max, "count", count)
		}
		evicted.Abort()
	}
	if !added {
		c.Close()
		if count, ok := s.fullLog.Allow(); ok {
			s.log.Warn("connection limit reached; rejecting connections", "limit", s.table.max, "count", count)
		}
		return nil
	}
	return tracked
}

// serve serves c in package http1 if it can, else in net/http.
func (s *Server) serve(c *conn.Conn, handoff *handoffListener) {
	switch {
	case s.tls != nil:
		handoff.deliver(c, tls.Server(c, s.tls))
	case s.fast == nil:
		handoff.deliver(c, c)
	default:
		handoff.sessions.Go(func() {
			if s.fast.Serve(c) {
				handoff.deliver(c, c)
			}
		})
	}
}

// handoffListener is the listener of net/http's server: it returns the connections that are handed off to it.
type handoffListener struct {
	net.Listener // has the address
	conns        chan net.Conn
	sessions     sync.WaitGroup // connections that http1 serves, which may still be handed off
	ended        chan struct{}  // closed when no more connections can come
}

// deliver hands tracked to net/http as c, which is tracked itself or TLS over it.
func (h *handoffListener) deliver(tracked *conn.Conn, c net.Conn) {
	tracked.MarkHandedOff()
	h.conns <- c
}

// Accept returns the next connection, or net.ErrClosed when no more can come.
func (h *handoffListener) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

// Close does nothing: connections are handed off until the last session has ended, during a drain too.
func (h *handoffListener) Close() error { return nil }
