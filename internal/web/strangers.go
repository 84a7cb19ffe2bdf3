package web

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/http1"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// strangers are the connections of net/http of which no request was let in so far: who
// has no password can hold them. Where there are as many connections as may be, one more
// ends the idlest stranger of the neighbourhood that has most. Where that is its own, it
// is ended only after the time in which a request is to come: of those that come all at
// once, each is about to ask.
type strangers struct {
	mu  sync.Mutex
	all map[net.Conn]stranger
}

// stranger is how such a connection is.
type stranger struct {
	from  netip.Prefix
	idle  bool
	since time.Time
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
		s.all[c] = stranger{Neighbourhood(c.RemoteAddr().String()), true, time.Now()}
	case is && state == http.StateActive:
		s.all[c] = stranger{from: known.from}
	case is && state == http.StateIdle:
		s.all[c] = stranger{known.from, true, time.Now()}
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

// oneFor takes out the stranger that is to give way to c, among those of a kind; it
// returns nil if there is none.
func (s *strangers) oneFor(c net.Conn, of func(net.Conn) bool) (idlest net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[netip.Prefix]int)
	own := Neighbourhood(c.RemoteAddr().String())
	most := own
	for other, is := range s.all {
		if is.idle && of(other) {
			counts[is.from]++
			if counts[is.from] > counts[most] {
				most = is.from
			}
		}
	}
	since := time.Now()
	if most == own {
		since = since.Add(-limits.ReadHeaderTimeout)
	}
	for other, is := range s.all {
		if is.idle && is.from == most && of(other) && is.since.Before(since) {
			idlest, since = other, is.since
		}
	}
	delete(s.all, idlest)
	return idlest
}

// Neighbourhood is whose an address is: of IPv6, one has many, but for those of a
// tunnel.
func Neighbourhood(remote string) netip.Prefix {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip := addr.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsPrivate() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}

// makeRoom ends a stranger to make room for c, among those of a kind, and reports whether
// there was one.
func (s *Server) makeRoom(c net.Conn, of func(net.Conn) bool) bool {
	idlest := s.strangers.oneFor(c, of)
	if idlest == nil {
		return false
	}
	if n, due := s.crowded.Count(); due {
		s.log.Warn("there are as many connections as may be, and of those that were let in with no request some are ended", "ended", n)
	}
	if !http1.Reset(idlest) {
		idlest.Close()
	}
	return true
}

// full reports whether there is no room for c, and none to be made. What is ended takes a
// moment until it is gone.
func (s *Server) full(c net.Conn) bool {
	n := s.Connections()
	return n >= limits.Clients && (n >= limits.Clients+limits.Clients/8 || !s.makeRoom(c, anyConn))
}

func anyConn(net.Conn) bool { return true }

func isTLS(c net.Conn) bool {
	_, ok := c.(*tls.Conn)
	return ok
}
