package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// ParsePrefixes reads the value of -allow: addresses and prefixes, separated by
// commas. It returns an error that names the one that is neither.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		p, err := targetsfile.ParsePrefix(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("%w; several have commas between, and no names or brackets are taken", err)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// Guard returns l as it is to be served: with every connection closed at accept
// whose address is in none of the prefixes, if any are given, or that is more than
// limits.MaxConns, where none of these is a stranger's. The former are counted, and
// logged at most once in limits.LimitLogInterval. No failure to accept but the end
// of l ends it. What is not over TCP has no address, and l is returned as it is.
func (s *Server) Guard(l net.Listener, prefixes []netip.Prefix) net.Listener {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return l
	}
	// Connections have what their listener has.
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, limits.NotSentLowat)
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, limits.RecvBufSize)
		})
	}
	return &guarded{TCPListener: tcp, server: s, prefixes: prefixes, log: s.log, refused: s.metrics.refused}
}

type guarded struct {
	*net.TCPListener
	server   *Server
	prefixes []netip.Prefix
	log      *slog.Logger
	refused  prometheus.Counter
	logged   limits.LogLimiter
}

// Accept returns the next connection that is allowed.
func (g *guarded) Accept() (net.Conn, error) {
	for failures := 0; ; {
		c, err := g.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			g.pause(failures, err)
			failures++
			continue
		case g.server.full(c):
			c.Close()
		case len(g.prefixes) > 0 && !g.allows(c.RemoteAddr()):
			c.Close()
			g.refuse(c.RemoteAddr())
		default:
			return c, nil
		}
		failures = 0
	}
}

// pause waits after accepting failed with err, after so many failures: descriptors
// or memory are short, and who waits to be accepted is not lost.
func (g *guarded) pause(failures int, err error) {
	wait := min(5*time.Millisecond<<min(failures, 10), limits.MaxAcceptRetryInterval)
	g.log.Warn("accepting a connection failed; scrapers wait until it succeeds", "error", err, "again", wait)
	time.Sleep(wait)
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
	if n, due := g.logged.Allow(); due {
		g.log.Warn("connection refused: -allow does not name its address", "address", remote.String(), "refused", n)
	}
}
