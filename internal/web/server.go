package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tulpa.dev/cadey/aegis/internal/http1"
	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Config is what a Server needs to know.
type Config struct {
	Folder   socketdir.Dir
	Targets  targetsfile.File
	Log      *slog.Logger
	Version  string
	Revision string
}

// Server answers scrapes of the sockets in a folder. It is an http.Handler.
type Server struct {
	folder  socketdir.Dir
	catalog *Catalog
	log     *slog.Logger
	client  scrape.Client
	targets *targets
	metrics *metrics
	own     map[string]http.HandlerFunc

	http1      http1.Server
	conns      atomic.Int64      // of scrapers, open, that net/http serves
	requests   atomic.Int64      // under way
	scrapes    places            // among these
	refused    limits.LogLimiter // of those
	handshakes limits.LogLimiter // that failed
	prefaces   limits.LogLimiter // likewise, of HTTP/2
	fileErr    atomic.Pointer[error]
	draining   atomic.Bool
	censuses   atomic.Int32 // under way
	pages      places
	strangers  strangers
	crowded    limits.LogLimiter // some of these were ended
	overrun    limits.LogLimiter // connections sent too much
	resets     limits.LogLimiter // of connections whose scrapers did not take an answer
	streams    streams
	aborts     limits.LogLimiter // of these
}

// New returns a Server. It does not look at the folder yet.
func New(c Config) *Server {
	s := &Server{
		folder:  c.Folder,
		catalog: NewCatalog(c.Folder, c.Targets),
		log:     c.Log,
		scrapes: make(places, limits.MaxScrapes),
		pages:   make(places, limits.MaxPages),
	}
	s.metrics = newMetrics(s, c.Version, c.Revision)
	s.targets = newTargets(s.catalog, c.Log, s.metrics.scrapes)
	s.own = s.routes()
	s.http1.Handler, s.http1.Log, s.http1.NotTaken, s.http1.Unasked = s, c.Log, s.notTaken, s.unasked
	return s
}

// HTTPServer returns an http.Server for s with its bounds set.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:                      s,
		ReadTimeout:                  limits.ReadHeaderTimeout, // a body is none of what is answered
		IdleTimeout:                  limits.ClientIdleTimeout,
		WriteTimeout:                 limits.WriteTimeout,
		MaxHeaderBytes:               limits.MaxRequestHead - 4<<10, // net/http adds as much.
		DisableGeneralOptionsHandler: true,                          // OPTIONS * is one more method that is not allowed.
		ConnState:                    s.connState,
		ConnContext:                  withConn,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: limits.MaxStreamsPerConn, WriteByteTimeout: limits.HTTP2StallTimeout,
			// The least: a frame that is announced is made room for, and bodies are none
			// of what is answered.
			MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 1,
		},
		ErrorLog: log.New(serverLog{s}, "", 0),
	}
}

// serverLog is what net/http has to say. Connections that fail before a request are
// whatever scrapers, and those who look for open doors, make of them: of these there is a
// line now and then.
type serverLog struct{ s *Server }

// Write logs line.
func (l serverLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	switch {
	case strings.Contains(text, "TLS handshake error"):
		if n, due := l.s.handshakes.Allow(); due {
			l.s.log.Warn("a scraper's TLS handshake failed", "error", text, "failed", n)
		}
	case strings.HasPrefix(text, "http2: ") && !strings.Contains(text, "panic"):
		if n, due := l.s.prefaces.Allow(); due {
			l.s.log.Warn("a scraper's connection over HTTP/2 failed", "error", text, "failed", n)
		}
	default:
		l.s.log.Warn(text)
	}
	return len(line), nil
}

// connState counts the connections of scrapers, makes room where they are more than
// limits.MaxConns or limits.MaxTLSConns, and ends those whose scraper does not take its
// answer.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	s.strangers.note(c, state)
	switch state {
	case http.StateNew:
		most, of := int64(limits.MaxConns), anyConn
		if isTLS(c) {
			most, of = limits.MaxTLSConns, isTLS
		}
		if s.conns.Add(1) > most && !s.makeRoom(c, of) {
			c.Close()
		}
	case http.StateIdle:
		// With HTTP/2 all its streams would wait for that.
		if t, ok := c.(*tls.Conn); !ok || t.ConnectionState().NegotiatedProtocol != "h2" {
			s.http1.Settle(c)
		}
	case http.StateClosed, http.StateHijacked:
		s.conns.Add(-1)
	}
}

// connKey is under which the context of a request has its connection, in net/http.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// notTaken notes that a connection was reset whose scraper did not take its answer.
func (s *Server) notTaken() {
	s.metrics.notTaken.Inc()
	if n, due := s.resets.Allow(); due {
		s.log.Warn("scrapers do not take their answers, and are disconnected: after some time, or when too many others have one to take", "most", limits.MaxUndrained, "disconnected", n)
	}
}

// unasked notes that a connection was reset that sent too much without a request.
func (s *Server) unasked(scraper net.Addr) {
	if n, due := s.overrun.Allow(); due {
		s.log.Warn("connections are reset on which comes more than a request takes", "address", scraper.String(), "most", limits.MaxPreRequestBytes, "reset", n)
	}
}

// Connections returns how many connections of scrapers are open.
func (s *Server) Connections() int { return int(s.conns.Load()) + s.http1.Connections() }

// Plain returns l without the connections on which scrapers send nothing but plain
// scrapes, over HTTP and without a password: these are served by the way, at less
// cost.
func (s *Server) Plain(l net.Listener) net.Listener {
	if _, ok := l.(*guarded); !ok {
		return l
	}
	return s.http1.Listen(l)
}

// Fair returns l with connections on which no scraper shuts out others, for net/http
// to serve whatever comes there.
func (s *Server) Fair(l net.Listener) net.Listener { return s.http1.Fair(l) }

// Ended waits until the listeners that Plain was given have ended.
func (s *Server) Ended() { s.http1.Ended() }

// Shutdown closes the connections that Plain kept, when they are idle. It waits
// until they are, or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.http1.Shutdown(ctx) }

// Watch looks at the folder now and then, until ctx ends, to notice targets
// that are new or gone and forget those gone long ago. It gives a line that says
// how they all are to report, now and whenever it may have changed.
func (s *Server) Watch(ctx context.Context, report func(status string)) {
	tick := time.NewTicker(limits.ReconcileInterval)
	defer tick.Stop()
	for {
		if status := s.status(ctx); ctx.Err() == nil {
			report(status)
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
		case <-s.targets.changed:
		}
	}
}

// Retarget makes file the targets file, or, if reading it failed with err, keeps
// the one before and says so until one can be read.
func (s *Server) Retarget(file targetsfile.File, err error) {
	if err == nil {
		s.logOpened(s.catalog.File(), file)
		s.catalog.Use(file)
	}
	s.fileErr.Store(&err)
	s.targets.announce()
}

// logOpened logs which targets all scrapers may see by the file after, and not by that
// before: that may be a mistake.
func (s *Server) logOpened(before, after targetsfile.File) {
	for _, name := range slices.Sorted(maps.Keys(before.Targets)) {
		if before.Targets[name].Allow != nil && after.Target(name).Allow == nil && !after.Target(name).Disabled {
			s.log.Warn("the targets file lets every scraper see a target that it kept from some", "target", name)
		}
	}
}

// staleFile returns why the targets file in use is not the one that is there.
func (s *Server) staleFile() error {
	if err := s.fileErr.Load(); err != nil {
		return *err
	}
	return nil
}

// Reload drops the connections to services that no target leads to any more. If
// the folder cannot be read before ctx ends, everything stays as it was.
func (s *Server) Reload(ctx context.Context) error {
	entries, err := s.targets.sweep(ctx)
	if err != nil {
		return err
	}
	there := make(map[socketdir.ID]bool, len(entries))
	for _, e := range entries {
		if socket, err := s.catalog.Find(ctx, e.Name, s.catalog.Target(e.Name)); err == nil {
			there[socket.ID] = true
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %s", socketdir.ErrTimeout, s.folder)
	}
	s.client.Retain(there)
	s.targets.announce()
	return nil
}

// Alive returns nil if the server itself works, whatever its folder and the
// services do: if a request through its handler is answered.
func (s *Server) Alive() error {
	r, err := http.NewRequest(http.MethodGet, "/-/healthy", nil)
	if err != nil {
		return err
	}
	w := probe{header: make(http.Header)}
	s.ServeHTTP(&w, r)
	if w.status != http.StatusOK {
		return fmt.Errorf("%s answered %d", r.URL, w.status)
	}
	return nil
}

// probe is a ResponseWriter that notes the status.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) WriteHeader(status int)      { p.status = status }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

// Drain makes every answer from now on the last of its connection.
func (s *Server) Drain() { s.draining.Store(true) }

// Requests returns how many requests are under way.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// Close closes the connections that Plain kept, and the idle ones to services.
func (s *Server) Close() {
	s.http1.Close()
	s.client.Retain(nil)
}
