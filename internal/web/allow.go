package web

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/config"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// ParsePrefixes reads the value of -allow: addresses and prefixes, separated by
// commas. It returns an error that names the one that is neither.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		p, err := config.ParsePrefix(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// Guard returns l as it is to be served: with every connection closed at accept
// whose address is in none of the prefixes, if any are given. Those closed are
// counted, and logged at most once in limits.RefusalLogInterval. What is not over
// TCP has no address, and l is returned as it is.
func (s *Server) Guard(l net.Listener, prefixes []netip.Prefix) net.Listener {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return l
	}
	return &guarded{TCPListener: tcp, prefixes: prefixes, log: s.log, refused: s.metrics.refused}
}

type guarded struct {
	*net.TCPListener
	prefixes []netip.Prefix
	log      *slog.Logger
	refused  prometheus.Counter

	mu       sync.Mutex
	loggedAt time.Time
	unlogged int
}

// Accept returns the next connection that is allowed.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if len(g.prefixes) == 0 || g.allows(c.RemoteAddr()) {
			return newScraperConn(c), nil
		}
		c.Close()
		g.refuse(c.RemoteAddr())
	}
}

func (g *guarded) allows(remote net.Addr) bool {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return false
	}
	return within(g.prefixes, tcp.AddrPort().Addr())
}

func (g *guarded) refuse(remote net.Addr) {
	g.refused.Inc()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unlogged++
	if now := time.Now(); now.Sub(g.loggedAt) >= limits.RefusalLogInterval {
		g.log.Warn("connection refused: -allow does not name its address", "address", remote.String(), "refused", g.unlogged)
		g.loggedAt, g.unlogged = now, 0
	}
}
