package scrape

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// pool keeps idle connections for the next scrape, each for limits.BackendIdleTimeout. So they are no
// more than the scrapes that end in that time.
type pool struct {
	open atomic.Int64 // connections, idle or in use

	mu      sync.Mutex
	byPath  map[string][]*conn // of the socket, most recently used last
	byAge   list.List          // of *conn, most recently used last
	sweeper *time.Timer        // nil if there are no idle connections
}

// get removes the most recently used connection to the socket at path from the pool and returns it,
// or nil if there is none.
func (p *pool) get(path string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.byPath[path]
	if len(conns) == 0 {
		return nil
	}
	newest := conns[len(conns)-1]
	p.byAge.Remove(newest.age)
	p.setConns(path, conns[:len(conns)-1])
	return newest
}

// put keeps c for a later scrape, unless it is limits.MaxBackendConnAge old.
func (p *pool) put(c *conn) {
	now := time.Now()
	if now.Sub(c.dialed) >= limits.MaxBackendConnAge {
		c.close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byPath == nil {
		p.byPath = make(map[string][]*conn)
	}
	c.reused, c.idleSince, c.age = true, now, p.byAge.PushBack(c)
	p.byPath[c.path] = append(p.byPath[c.path], c)
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(limits.BackendIdleTimeout, p.sweep)
	}
}

// sweep closes the connections that have been idle for limits.BackendIdleTimeout. At least a quarter
// of that time passes before it runs again, so that it closes several at a time under load.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for now := time.Now(); p.byAge.Len() > 0; p.closeOldest() {
		left := limits.BackendIdleTimeout - now.Sub(p.byAge.Front().Value.(*conn).idleSince)
		if left > 0 {
			p.sweeper.Reset(max(left, limits.BackendIdleTimeout/4))
			return
		}
	}
	p.sweeper = nil
}

// closeOldest closes the connection that has been idle for longest. The caller holds p.mu.
func (p *pool) closeOldest() {
	oldest := p.byAge.Remove(p.byAge.Front()).(*conn)
	p.setConns(oldest.path, p.byPath[oldest.path][1:])
	oldest.close()
}

// setConns sets the idle connections to the socket at path. The caller holds p.mu.
func (p *pool) setConns(path string, conns []*conn) {
	if len(conns) == 0 {
		delete(p.byPath, path)
		return
	}
	p.byPath[path] = conns
}
