package web

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/sockdir"
)

// Config is what a Server needs to know.
type Config struct {
	Folder   sockdir.Folder
	Log      *slog.Logger
	Version  string
	Revision string
}

// Server answers scrapes of the sockets in a folder. It is an http.Handler.
type Server struct {
	folder  sockdir.Folder
	log     *slog.Logger
	client  scrape.Client
	targets *targets
	metrics *metrics
	own     map[string]http.HandlerFunc
}

// New returns a Server that has looked at its folder once; a folder that is
// not there is logged and no error.
func New(c Config) *Server {
	s := &Server{folder: c.Folder, log: c.Log}
	s.metrics = newMetrics(s, c.Version, c.Revision)
	s.targets = newTargets(c.Folder, c.Log, s.metrics.scrapes)
	s.own = s.routes()
	s.targets.sweep()
	return s
}

// HTTPServer returns an http.Server for s with its bounds set.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            limits.ReadHeaderTimeout,
		IdleTimeout:                  limits.IdleTimeout,
		WriteTimeout:                 limits.WriteTimeout,
		MaxHeaderBytes:               limits.Head,
		DisableGeneralOptionsHandler: true, // OPTIONS * is one more method that is not allowed.
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

// Sweep looks at the folder now and then, until ctx ends, to notice targets
// that are gone and forget those gone long ago.
func (s *Server) Sweep(ctx context.Context) {
	tick := time.NewTicker(limits.SweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.targets.sweep()
		}
	}
}

// Close closes the idle connections to services.
func (s *Server) Close() { s.client.CloseIdle() }
