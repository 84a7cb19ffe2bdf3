// Package web is every URL that there is: the relay of a scrape, service discovery, Aegis' own metrics, health,
// and the page for people.
//
// It hands a name to package target and gets a handle; the scrape goes through that, and its result becomes a
// status in one place (statusOf). It reads no flags and knows nothing of connections or the service manager.
//
// # Security
//
// Every client may be hostile. It chooses a name, which package socketdir checks, a query and a deadline. Of
// the rest of its request, the service gets only the three header fields that negotiate a format (package
// scrape). The targets file can restrict a target to clients with certain addresses or certificates; then no
// list or page shows it to others. Package limits bounds what clients can use up.
//
// Names of sockets and whatever services send are hostile too. The page leaves escaping to html/template, and
// its policy lets a browser run nothing but the page's own script.
package web

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/target"
)

// Config is what a Server needs to know.
type Config struct {
	Targets  *target.Set
	Log      *slog.Logger
	Registry *prometheus.Registry // of Aegis' own metrics
	Version  string
	Revision string
	// ExternalURL is where clients reach Aegis, without a slash at its end; nil if they do at the address that
	// they name.
	ExternalURL *url.URL
}

// Server is the http.Handler for all URLs.
type Server struct {
	targets  *target.Set
	log      *slog.Logger
	registry *prometheus.Registry
	version  string
	external *url.URL // without a Host if there is none
	routes   map[string]http.HandlerFunc
	reloads  *reloads
}

// New returns a Server. It does not read the directory yet.
func New(c Config) *Server {
	registerMetrics(c.Registry, c.Version, c.Revision)
	s := &Server{
		targets: c.Targets, log: c.Log, registry: c.Registry, reloads: newReloads(c.Registry),
		version: c.Version, external: cmp.Or(c.ExternalURL, new(url.URL)),
	}
	// Aegis' own pages by path, compared after one decoding. Every other path is a name.
	s.routes = map[string]http.HandlerFunc{
		"/":          limitConcurrency(limits.MaxPages, s.page),
		"/metrics":   limitConcurrency(limits.MaxOwnMetrics, s.ownMetrics),
		"/-/sd":      limitConcurrency(limits.MaxLists, s.discovery),
		"/-/healthy": s.healthy,
		"/-/ready":   s.healthy,
	}
	return s
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeText(w, http.StatusMethodNotAllowed, "method not allowed: a scrape is a GET request, and SIGHUP reloads Aegis")
		return
	}
	if r.ContentLength != 0 {
		writeText(w, http.StatusBadRequest, "a scrape has no body (RFC 9110 section 9.3.1)")
		return
	}
	if strings.ContainsFunc(r.Host+r.URL.RawQuery, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		writeText(w, http.StatusBadRequest, "the host or the query has spaces or control characters in it")
		return
	}
	path := r.URL.Path
	if rest := strings.TrimPrefix(path, s.external.Path); strings.HasPrefix(rest, "/") {
		path = rest // A proxy may have removed the prefix already.
	}
	if own, ok := s.routes[path]; ok {
		own(w, r)
		return
	}
	s.relay(w, r, strings.TrimPrefix(path, "/"))
}

// limitConcurrency runs h for at most n requests at once: each holds memory until its client has read the
// response. Others wait for limits.QueueTimeout, then get 503.
func limitConcurrency(n int, h http.HandlerFunc) http.HandlerFunc {
	slots := limits.NewSemaphore(n)
	return func(w http.ResponseWriter, r *http.Request) {
		if !slots.Acquire(r.Context(), limits.QueueTimeout) {
			writeBusy(w, fmt.Sprintf("busy: %d responses of this kind are in flight", n))
			return
		}
		defer slots.Release()
		h(w, r)
	}
}

// expensive runs work with a slot of limits.Expensive. Without one it responds with 503 and returns false. Work
// must not read the directory: a file system that hangs would keep the slots from TLS handshakes and passwords.
func expensive(w http.ResponseWriter, r *http.Request, work func()) bool {
	if !limits.Expensive.Acquire(r.Context(), limits.QueueTimeout) {
		writeBusy(w, "busy: too much other work for the processor")
		return false
	}
	defer limits.Expensive.Release()
	work()
	return true
}

func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) {
	s.Alive()
	writeText(w, http.StatusOK, "Aegis is up.")
}

// Alive returns nil if Aegis itself works: it takes the lock that every scrape takes, and hangs if that is never
// released. It does not look at the directory or a service, since a restart would not fix those.
func (s *Server) Alive() error {
	s.targets.Get("")
	return nil
}

// Watch calls report with the status line, now and whenever it may have changed, until ctx ends. It reconciles the targets with the directory at least once in limits.ReconcileInterval.
func (s *Server) Watch(ctx context.Context, report func(line string)) {
	tick := time.NewTicker(limits.ReconcileInterval)
	defer tick.Stop()
	for {
		lines := append([]string{s.targets.StatusLine(ctx)}, s.reloads.describe(reloadStatus)...)
		if ctx.Err() == nil {
			report(strings.Join(lines, "; "))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(limits.StatusInterval):
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.targets.Changed():
		}
	}
}
