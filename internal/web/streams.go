package web

import (
	"container/list"
	"net/http"
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// streams are the requests over HTTP/2. A scraper has many on one connection, and need
// not take the answer of any: each holds a goroutine and memory until it does. There
// are at most limits.Streams; one more has the answer that waits for longest aborted.
type streams struct {
	mu      sync.Mutex
	n       int
	waiting list.List // of *http.ResponseController: those whose answer is to be taken
}

// enter takes a place for a request until leave, and reports whether there was one.
func (s *streams) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= limits.Streams {
		longest := s.waiting.Front()
		if longest == nil {
			return false
		}
		s.waiting.Remove(longest).(*http.ResponseController).SetWriteDeadline(longAgo)
	}
	s.n++
	return true
}

var longAgo = time.Unix(1, 0)

// settle waits until the scraper has taken the answer.
func (s *streams) settle(answer *http.ResponseController) {
	s.mu.Lock()
	place := s.waiting.PushBack(answer)
	s.mu.Unlock()
	answer.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.Remove(place)
}

func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n--
}

// Streams returns next with a bound on its requests over HTTP/2.
func (s *Server) Streams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 {
			next.ServeHTTP(w, r)
			return
		}
		if !s.streams.enter() {
			if n, due := s.aborts.Count(); due {
				s.log.Warn("requests over HTTP/2 are aborted: as many as may be are under way already", "most", limits.Streams, "aborted", n)
			}
			panic(http.ErrAbortHandler)
		}
		defer s.streams.leave()
		next.ServeHTTP(w, r) // may panic, and what came of its answer is not to be sent then
		s.streams.settle(http.NewResponseController(w))
	})
}
