package server

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// table is all connections that are open, at most max. If there are max, one that has made no accepted request
// gives way to the next.
type table struct {
	max int

	mu    sync.Mutex
	conns map[*conn.Conn]struct{}
}

// add adds c, and reports whether there was room. It takes out the connection that gives way to c, if there has
// to be one, and returns it.
func (t *table) add(c *conn.Conn) (evicted *conn.Conn, added bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.conns) >= t.max {
		if evicted = t.evictionCandidate(c); evicted == nil {
			return nil, false
		}
		delete(t.conns, evicted)
	}
	t.conns[c] = struct{}{}
	return evicted, true
}

func newTable(max int) table { return table{max: max, conns: make(map[*conn.Conn]struct{})} }

func (t *table) remove(c *conn.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns)
}

func (t *table) all() []*conn.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.conns))
}

// evictionCandidate returns the connection that gives way to c, or nil. It comes from the source that has most
// connections without an accepted request, and is the oldest of them.
//
// A connection that has just arrived may be about to send its request. It gives way only if its source is not
// that of c and has at least as many such connections. A connection that has sent none in limits.ReadHeaderTimeout
// gives way in any case.
func (t *table) evictionCandidate(c *conn.Conn) (candidate *conn.Conn) {
	type waiting struct {
		conn  *conn.Conn
		since time.Time
	}
	var all []waiting
	count := make(map[netip.Prefix]int)
	for other := range t.conns {
		if since, evictable := other.Evictable(); evictable {
			all = append(all, waiting{other, since})
			count[other.Source()]++
		}
	}
	late := time.Now().Add(-limits.ReadHeaderTimeout)
	var oldest time.Time
	for _, w := range all {
		source := w.conn.Source()
		isNew := w.since.After(late)
		if isNew && (source == c.Source() || count[source] < count[c.Source()]) {
			continue
		}
		more := candidate == nil || count[source] > count[candidate.Source()]
		same := candidate != nil && count[source] == count[candidate.Source()]
		if more || same && w.since.Before(oldest) {
			candidate, oldest = w.conn, w.since
		}
	}
	return candidate
}
