package web

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/http1"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// strangers are the connections of net/http of which no request was let in so far: who
// has no password can hold them. Where there are as many connections as may be, one more
// ends the stranger that is idle for longest.
type strangers struct {
	mu  sync.Mutex
	all map[net.Conn]stranger
}

// stranger is how such a connection is.
type stranger struct {
	idle  bool
	since time.Time
}

// note notes the state of c.
func (s *strangers) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.all[c]
	switch {
	case state == http.StateNew:
		if s.all == nil {
			s.all = make(map[net.Conn]stranger)
		}
		s.all[c] = stranger{true, time.Now()}
	case is && state == http.StateActive:
		s.all[c] = stranger{}
	case is && state == http.StateIdle:
		s.all[c] = stranger{true, time.Now()}
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

// idlest takes out the stranger that is idle for longest, among those of a kind; it
// returns nil if there is none.
func (s *strangers) idlest(of func(net.Conn) bool) (idlest net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, is := range s.all {
		if is.idle && of(c) && (idlest == nil || is.since.Before(s.all[idlest].since)) {
			idlest = c
		}
	}
	delete(s.all, idlest)
	return idlest
}

// makeRoom ends the stranger that is idle for longest, among those of a kind, and
// reports whether there was one.
func (s *Server) makeRoom(of func(net.Conn) bool) bool {
	c := s.strangers.idlest(of)
	if c == nil {
		return false
	}
	if n, due := s.crowded.Count(); due {
		s.log.Warn("there are as many connections as may be, and those that are idle for longest, without any request that was let in, are ended", "ended", n)
	}
	if !http1.Reset(c) {
		c.Close()
	}
	return true
}

// full reports whether there is no room for one more connection, and none to be made.
// What is ended takes a moment until it is gone.
func (s *Server) full() bool {
	n := s.Connections()
	return n >= limits.Clients && (n >= limits.Clients+limits.Clients/8 || !s.makeRoom(anyConn))
}

func anyConn(net.Conn) bool { return true }

func isTLS(c net.Conn) bool {
	_, ok := c.(*tls.Conn)
	return ok
}
