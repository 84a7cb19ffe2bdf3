package web

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// routes are Aegis' own paths, compared after one decoding. Every other path is
// a name. The only method is GET, and HEAD with it.
func (s *Server) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/":          few(s.pages, s.index),
		"/metrics":   few(make(places, limits.MaxOwnMetrics), s.metrics.handler.ServeHTTP),
		"/-/sd":      few(make(places, limits.MaxLists), s.discovery),
		"/-/healthy": s.healthy,
		"/-/ready":   s.healthy,
	}
}

// few is answer for as many requests at once as p has room for: an answer is
// held until its scraper has read it. More wait a little, and get 503.
func few(p places, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !p.enter(r.Context(), limits.QueueTimeout) {
			w.Header().Set("Retry-After", "1")
			text(w, http.StatusServiceUnavailable, fmt.Sprintf("busy: %d of these are on their way already", cap(p)))
			return
		}
		defer p.leave()
		answer(w, r)
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	defer s.requests.Add(-1)
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		s.strangers.letIn(c)
	}
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	awaitNoBody(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		text(w, http.StatusMethodNotAllowed, "method not allowed: a scrape is a GET, and SIGHUP reloads")
		return
	}
	if r.ContentLength != 0 {
		text(w, http.StatusBadRequest, "a scrape has no body (RFC 9110 section 9.3.1)")
		return
	}
	if !oneWord(r.URL.RawQuery) || !oneWord(r.Host) {
		// HTTP/2 lets through what would be more than one word of a request
		// line, or more than a field, in HTTP/1.1.
		text(w, http.StatusBadRequest, "the query or the host has spaces or control characters in it")
		return
	}
	if own, ok := s.own[r.URL.Path]; ok {
		own(w, r)
		return
	}
	s.relay(w, r, r.URL.Path[min(1, len(r.URL.Path)):])
}

// awaitNoBody has the answer to r not wait for a body. net/http would, without a read
// deadline forever, and sees no hang-up before its end.
func awaitNoBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		http.NewResponseController(w).SetReadDeadline(time.Now())
	}
}

// healthy answers if Aegis itself works: it takes the locks that every scrape
// takes, and looks at no folder and no service, which a restart would not mend.
func (s *Server) healthy(w http.ResponseWriter, r *http.Request) {
	text(w, http.StatusOK, fmt.Sprintf("Aegis is up: %s under way, %s scraped so far.", plural(s.client.InFlight(), "scrape"), plural(s.targets.count(), "target")))
}

// text answers with one line for people.
func text(w http.ResponseWriter, status int, line string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write([]byte(line + "\n"))
}

func oneWord(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
