package server

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/limits"
)

type metrics struct {
	rejected    prometheus.Counter
	slowClients prometheus.Counter
}

func newMetrics(s *Server, registry prometheus.Registerer) metrics {
	register := promauto.With(registry)
	register.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "aegis_scraper_connections",
		Help: "Open connections of scrapers, including idle ones.",
	}, func() float64 { return float64(s.table.len()) })
	return metrics{
		rejected: register.NewCounter(prometheus.CounterOpts{
			Name: "aegis_rejected_connections_total",
			Help: "Connections closed at accept because -allow does not name their address.",
		}),
		slowClients: register.NewCounter(prometheus.CounterOpts{
			Name: "aegis_slow_client_disconnects_total",
			Help: "Connections closed because their client did not read a response.",
		}),
	}
}

func (s *Server) slowClient(*conn.Conn) {
	s.metrics.slowClients.Inc()
	if count, ok := s.slowClientLog.Allow(); ok {
		s.log.Warn("disconnecting clients that do not read their responses", "limit", limits.MaxUndrained, "count", count)
	}
}

func (s *Server) overrun(c *conn.Conn) {
	if count, ok := s.overrunLog.Allow(); ok {
		s.log.Warn("resetting connections whose clients send more than a request needs",
			"address", c.RemoteAddr().String(), "limit", limits.MaxPreRequestBytes, "count", count)
	}
}

// errorLog is net/http's log. Port scanners and misconfigured clients cause handshake errors, so those are
// rate-limited.
type errorLog struct{ s *Server }

// Write logs one line.
func (l errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if !strings.Contains(text, "TLS handshake error") {
		l.s.log.Warn(text)
	} else if count, ok := l.s.handshakeLog.Allow(); ok {
		l.s.log.Warn("a client's TLS handshake failed", "error", text, "count", count)
	}
	return len(line), nil
}
