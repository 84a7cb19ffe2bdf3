package scrape

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// pool keeps idle connections for the next scrape, by the identity of their socket. A
// socket that was replaced has another identity, so a scrape of the new one never gets a
// connection to the old process.
type pool struct {
	open atomic.Int64 // connections, idle or in use

	mu      sync.Mutex
	idle    map[socketdir.ID][]*conn // most recently used last
	count   int                      // of idle connections
	sweeper *time.Timer              // nil if idle is empty
}

// maxIdle returns how many idle connections are kept in total. It leaves file descriptors
// for scrapers and for scrapes.
var maxIdle = sync.OnceValue(func() int {
	var files unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	return int(min(files.Cur/4, limits.MaxIdleBackendConns))
})

// get removes the most recently used connection to id from the pool and returns it, or
// nil if there is none.
func (p *pool) get(id socketdir.ID) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.idle[id]
	if len(conns) == 0 {
		return nil
	}
	last := len(conns) - 1
	c := conns[last]
	conns[last] = nil
	// An empty slice stays until the next sweep, since c usually comes back.
	p.idle[id] = conns[:last]
	p.count--
	return c
}

// put keeps c for a later scrape. At a limit it closes c, and not the connection that has
// been idle for longest: a scraper visits its targets in turn, so it needs that one next.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.idle[c.id]
	if p.count >= maxIdle() || len(conns) >= limits.MaxIdlePerTarget {
		c.close()
		return
	}
	if p.idle == nil {
		p.idle = make(map[socketdir.ID][]*conn)
	}
	c.reused, c.idleSince = true, time.Now()
	p.idle[c.id] = append(conns, c)
	p.count++
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(limits.BackendIdleTimeout, p.sweep)
	}
}

// sweep closes the connections that have been idle for limits.BackendIdleTimeout. It looks at
// all of them, so it lets a quarter of that time pass before it runs again.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := limits.BackendIdleTimeout
	p.closeIf(func(c *conn) bool {
		left := limits.BackendIdleTimeout - time.Since(c.idleSince)
		if left > 0 {
			next = min(next, left)
		}
		return left <= 0
	})
	if len(p.idle) == 0 {
		p.sweeper = nil
		return
	}
	p.sweeper.Reset(max(next, limits.BackendIdleTimeout/4))
}

// retain closes the idle connections to sockets that are not in ids.
func (p *pool) retain(ids map[socketdir.ID]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeIf(func(c *conn) bool { return !ids[c.id] })
}

// closeIf closes the idle connections for which unwanted returns true. The caller holds p.mu.
func (p *pool) closeIf(unwanted func(*conn) bool) {
	for id, conns := range p.idle {
		kept := slices.DeleteFunc(conns, func(c *conn) bool {
			if !unwanted(c) {
				return false
			}
			c.close()
			p.count--
			return true
		})
		p.idle[id] = kept
		if len(kept) == 0 {
			delete(p.idle, id)
		}
	}
}
