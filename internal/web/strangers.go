package web

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/http1"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// strangers are the connections of net/http of which no request was let in so far: who
// has no password can hold them. Where there are as many connections as may be, one more
// ends one of these, of the neighbourhood that has most.
type strangers struct {
	mu  sync.Mutex
	all map[net.Conn]stranger
}

// stranger is how such a connection is.
type stranger struct {
	from    netip.Prefix
	idle    bool
	since   time.Time
	refused bool // it has asked for something
}

// note notes the state of c.
func (s *strangers) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, is := s.all[c]
	switch {
	case state == http.StateNew:
		if s.all == nil {
			s.all = make(map[net.Conn]stranger)
		}
		s.all[c] = stranger{from: conn.SourcePrefix(c.RemoteAddr().String()), idle: true, since: time.Now()}
	case is && state == http.StateActive:
		s.all[c] = stranger{from: known.from}
	case is && state == http.StateIdle:
		s.all[c] = stranger{known.from, true, time.Now(), true}
	default:
		delete(s.all, c)
	}
}

// letIn notes that a request on c was.
func (s *strangers) letIn(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
}

// oneFor takes out the stranger that is to give way to c, among those of a kind, and
// returns nil if there is none: one that was refused, or is idle for longer than a
// request may take to come; or of a neighbourhood that has as many as that of c. Of those
// that come all at once from one, each is about to ask.
func (s *strangers) oneFor(c net.Conn, of func(net.Conn) bool) (one net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[netip.Prefix]int)
	for other, is := range s.all {
		if is.idle && of(other) {
			counts[is.from]++
		}
	}
	own, late := conn.SourcePrefix(c.RemoteAddr().String()), time.Now().Add(-limits.ReadHeaderTimeout)
	var first stranger
	for other, is := range s.all {
		if !is.idle || !of(other) || !is.refused && is.since.After(late) && (is.from == own || counts[is.from] < counts[own]) {
			continue
		}
		if one == nil || counts[is.from] > counts[first.from] || counts[is.from] == counts[first.from] && is.since.Before(first.since) {
			one, first = other, is
		}
	}
	delete(s.all, one)
	return one
}

// makeRoom ends a stranger to make room for c, among those of a kind, and reports whether
// there was one.
func (s *Server) makeRoom(c net.Conn, of func(net.Conn) bool) bool {
	one := s.strangers.oneFor(c, of)
	if one == nil {
		return false
	}
	if n, due := s.crowded.Allow(); due {
		s.log.Warn("there are as many connections as may be, and of those that were let in with no request some are ended", "ended", n)
	}
	if !http1.Reset(one) {
		one.Close()
	}
	return true
}

// full reports whether there is no room for c, and none to be made. What is ended takes a
// moment until it is gone.
func (s *Server) full(c net.Conn) bool {
	n := s.Connections()
	return n >= limits.MaxConns && (n >= limits.MaxConns+limits.MaxConns/8 || !s.makeRoom(c, anyConn))
}

func anyConn(net.Conn) bool { return true }

func isTLS(c net.Conn) bool {
	_, ok := c.(*tls.Conn)
	return ok
}
