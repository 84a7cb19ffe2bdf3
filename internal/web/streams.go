package web

import (
	"net"
	"net/http"
	"sync"

	"tulpa.dev/cadey/aegis/internal/http1"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// streams are the requests over HTTP/2. A scraper has many on one connection, and need
// not take the answer of any: each holds a goroutine and memory until it does. There
// are at most limits.MaxStreams; one more ends the connection that has most.
type streams struct {
	mu  sync.Mutex
	n   int
	all map[net.Conn]*multiplexed
}

// multiplexed is a connection with streams.
type multiplexed struct {
	streams int
	ended   bool // here; its streams end soon
}

// enter takes a place for a request on c, until leave. It returns the connection to end
// for that, if one is, and reports whether there was a place.
func (s *streams) enter(c net.Conn) (most net.Conn, entered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= limits.MaxStreams {
		if most = s.most(); most == nil || most == c || s.n >= 2*limits.MaxStreams {
			return most, false
		}
	}
	if s.all == nil {
		s.all = make(map[net.Conn]*multiplexed)
	}
	if s.all[c] == nil {
		s.all[c] = new(multiplexed)
	}
	s.all[c].streams++
	s.n++
	return most, true
}

// most returns the connection that has most streams, which is ended then.
func (s *streams) most() (c net.Conn) {
	for other, m := range s.all {
		if !m.ended && (c == nil || m.streams > s.all[c].streams) {
			c = other
		}
	}
	if c != nil {
		s.all[c].ended = true
	}
	return c
}

func (s *streams) leave(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n--
	if s.all[c].streams--; s.all[c].streams == 0 {
		delete(s.all, c)
	}
}

// Streams returns next with a bound on its requests over HTTP/2, and has those of a
// listener of Fair noted.
func (s *Server) Streams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(net.Conn)
		if ok {
			http1.Requested(c)
		}
		awaitNoBody(w, r) // by whoever it is answered
		if r.ProtoMajor < 2 || !ok {
			next.ServeHTTP(w, r)
			return
		}
		most, entered := s.streams.enter(c)
		if most != nil {
			http1.Reset(most)
			if n, due := s.aborts.Allow(); due {
				s.log.Warn("connections over HTTP/2 are ended: more requests than may be are under way, and these have most", "most", limits.MaxStreams, "address", most.RemoteAddr().String(), "ended", n)
			}
		}
		if !entered {
			panic(http.ErrAbortHandler)
		}
		defer s.streams.leave(c)
		next.ServeHTTP(w, r) // may panic, and what came of its answer is not to be sent then
		// Else who does not take the end of its answer is waited for without a place.
		http.NewResponseController(w).Flush()
	})
}
