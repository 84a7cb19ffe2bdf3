package server

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// What a connection has done so far.
const (
	isNew      = iota // nothing yet
	isLate            // nothing, for limits.ReadHeaderTimeout
	isServed          // a request that was accepted
	isInFlight        // a request is in flight
)

func TestEvictionCandidate(t *testing.T) {
	const a, b, c = "127.0.0.1", "127.0.0.2", "127.0.0.3"
	type held struct {
		source string
		state  int
	}
	l := listen(t, "tcp", "127.0.0.1:0")
	dialer := &testServer{t: t, addr: l.Addr().String()}
	for name, tt := range map[string]struct {
		held []held // oldest first
		from string // source of the new connection
		want int    // index of the one that gives way, -1 for none
	}{
		"accepted requests":                {[]held{{a, isServed}, {a, isServed}}, b, -1},
		"requests in flight":               {[]held{{a, isInFlight}, {a, isInFlight}}, b, -1},
		"only one without a request":       {[]held{{a, isServed}, {a, isServed}, {b, isNew}}, a, 2},
		"most of one source":               {[]held{{a, isNew}, {b, isNew}, {b, isNew}}, c, 1},
		"most of one source, but accepted": {[]held{{a, isNew}, {b, isServed}, {b, isServed}}, c, 0},
		"the same number: the oldest":      {[]held{{a, isNew}, {b, isNew}}, c, 0},
		"new ones of its own source":       {[]held{{a, isNew}, {a, isNew}}, a, -1},
		"a source with fewer than its own": {[]held{{a, isNew}, {b, isNew}, {b, isNew}}, b, -1},
		"a source with as many as its own": {[]held{{a, isNew}, {b, isNew}}, b, 0},
		"late one of its own source":       {[]held{{a, isLate}, {a, isNew}}, a, 0},
		"late one of a source with few":    {[]held{{a, isLate}, {b, isNew}, {b, isNew}}, b, 0},
	} {
		t.Run(name, func(t *testing.T) {
			group := new(conn.Group)
			connect := func(source string) func() *conn.Conn {
				client := dialer.dialFrom(source)
				accepted, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { accepted.Close(); client.Close() })
				return func() *conn.Conn {
					return group.New(accepted, false)
				}
			}
			var others []func() *conn.Conn
			for _, h := range tt.held {
				others = append(others, connect(h.source))
			}
			newcomer := connect(tt.from)
			synctest.Test(t, func(t *testing.T) {
				table := newTable(len(tt.held))
				var conns []*conn.Conn
				for i, h := range tt.held {
					tracked := others[i]()
					if _, added := table.add(tracked); !added {
						t.Fatal("there is no room below the limit")
					}
					conns = append(conns, tracked)
					switch h.state {
					case isLate:
						time.Sleep(limits.ReadHeaderTimeout)
					case isServed, isInFlight:
						tracked.BeginRequest()
						tracked.MarkAuthorized()
						if h.state == isServed {
							tracked.EndRequest()
						}
					}
					time.Sleep(time.Millisecond)
				}
				evicted, added := table.add(newcomer())
				if got := slices.Index(conns, evicted); got != tt.want || added != (tt.want >= 0) {
					t.Errorf("%d gives way, added %v; want %d", got, added, tt.want)
				}
				if got := table.len(); got != len(tt.held) {
					t.Errorf("%d connections, want %d", got, len(tt.held))
				}
			})
		})
	}
}

func (t *table) setMax(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.max = n
}

// A connection beyond the limit is closed without a response if all others have made
// requests, over TCP and Unix sockets, and there is room again once one is closed.
func TestConnectionsAreBounded(t *testing.T) {
	unix := listen(t, "unix", filepath.Join(t.TempDir(), "aegis.sock"))
	overUnix, overTCP := start(t, Config{}, unix), start(t, Config{}, nil)
	sources := 0
	dialFromAnother := func() client {
		sources++
		return overTCP.dialFrom(fmt.Sprintf("127.0.0.%d", sources))
	}
	for network, tt := range map[string]struct {
		s    *testServer
		dial func() client
	}{
		"tcp":  {overTCP, dialFromAnother},
		"unix": {overUnix, func() client { return dialUnix(t, unix) }},
	} {
		t.Run(network, func(t *testing.T) {
			tt.s.table.setMax(2)
			first, second := tt.dial(), tt.dial()
			first.wantStatus(t, fastRequest, http.StatusOK)
			second.wantStatus(t, slowRequest, http.StatusOK)
			tt.dial().wantEnd(t, "beyond the limit")
			first.wantStatus(t, fastRequest, http.StatusOK)
			first.Close()
			eventually(t, "a connection is closed", func() bool { return tt.s.metric("aegis_scraper_connections") == 1 })
			tt.dial().wantStatus(t, fastRequest, http.StatusOK)
			second.wantStatus(t, slowRequest, http.StatusOK)
		})
	}
	if got := New(Config{Registry: prometheus.NewRegistry()}).table.max; got != limits.MaxConns {
		t.Errorf("limit %d, want %d", got, limits.MaxConns)
	}
	tls := Config{Registry: prometheus.NewRegistry(), Auth: authenticator(t, withTLS)}
	if got := New(tls).table.max; got != limits.MaxTLSConns {
		t.Errorf("limit with TLS %d, want %d", got, limits.MaxTLSConns)
	}
}

// Clients that hold all connections without a request do not keep out a client that has the password, and do not
// take the place of one that has sent it, even if that has the oldest connection of their address.
func TestEviction(t *testing.T) {
	const request = "GET /a HTTP/1.1\r\nHost: h\r\n" + userHeader + "\r\n"
	s := start(t, Config{Auth: authenticator(t, users(t, bcrypt.MinCost))}, nil)
	s.table.setMax(4)
	accepted := s.dialFrom("127.0.0.3")
	accepted.wantStatus(t, request, http.StatusOK)
	var held []client
	for i := range 3 {
		held = append(held, s.dialFrom("127.0.0.3"))
		eventually(t, "it is accepted", func() bool { return s.table.len() == i+2 })
	}
	s.dialFrom("127.0.0.4").wantStatus(t, request, http.StatusOK)
	held[0].wantEnd(t, "the oldest connection")
	held[1].wantStatus(t, request, http.StatusOK)
	accepted.wantStatus(t, request, http.StatusOK)
	s.waitLog("connection limit reached; closing idle connections that made no valid request")
}

// A client whose request is refused has to connect again, and so do a flood of them.
func TestRefusedRequestEndsTheConnection(t *testing.T) {
	s := start(t, Config{Auth: authenticator(t, users(t, bcrypt.MinCost))}, nil)
	c := s.dial()
	c.wantStatus(t, fastRequest+fastRequest, http.StatusUnauthorized)
	c.wantEnd(t, "after a refused request")
}
