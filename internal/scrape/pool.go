package scrape

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// pool holds what is shared between scrapes, by socket identity: a socket that
// was replaced has another identity, and so never meets a connection to its
// predecessor's process.
type pool struct {
	mu       sync.Mutex
	services map[socketdir.ID]*service
	idle     idleList
	sweeper  *time.Timer
	inFlight int
}

// mostIdle returns how many idle connections are kept in all. Scrapers and scrapes
// need descriptors, too.
var mostIdle = sync.OnceValue(func() int {
	var files unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	return int(min(files.Cur/4, limits.MaxIdleBackendConns))
})

// service is one socket's part of the pool; it exists while there is a scrape
// under way or a connection idle.
type service struct {
	id       socketdir.ID
	inFlight int
	idle     []*conn // most recently used last
}

// admit counts a scrape of id in, until leave. It returns the idle connection to id
// that was used last, too, or nil.
func (p *pool) admit(id socketdir.ID) (*service, *conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.service(id)
	if s.inFlight >= limits.MaxScrapesPerTarget {
		return nil, nil, fmt.Errorf("%w: %d scrapes of it are under way already; the service is slow or hangs, or too many scrape it", ErrTooMany, s.inFlight)
	}
	s.inFlight++
	p.inFlight++
	if len(s.idle) == 0 {
		return s, nil, nil
	}
	c := s.idle[len(s.idle)-1]
	p.remove(c)
	return s, c, nil
}

// leave counts a scrape out, and keeps c for a later one if it is not nil.
func (p *pool) leave(s *service, c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c == nil:
	case c.id == s.id:
		p.keep(s, c)
	default: // The socket was replaced while c was dialled.
		p.keep(p.service(c.id), c)
	}
	s.inFlight--
	p.inFlight--
	p.tidy(s)
}

// sweep closes what was idle too long, and comes back while anything is idle.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := p.idle.oldest; c != nil; c = p.idle.oldest {
		if left := limits.BackendIdleTimeout - time.Since(c.idleSince); left > 0 {
			p.sweeper.Reset(left)
			return
		}
		p.drop(c)
	}
	p.sweeper = nil
}

// retain closes the idle connections to sockets that are not in ids.
func (p *pool) retain(ids map[socketdir.ID]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := p.idle.oldest; c != nil; {
		newer := c.newer
		if !ids[c.id] {
			p.drop(c)
		}
		c = newer
	}
}

// The rest is called with p.mu held.

func (p *pool) service(id socketdir.ID) *service {
	s := p.services[id]
	if s == nil {
		if p.services == nil {
			p.services = make(map[socketdir.ID]*service)
		}
		s = &service{id: id}
		p.services[id] = s
	}
	return s
}

// keep makes c an idle connection of s, or closes it where enough are kept already.
// The one idle for longest is not the one to close then: a scraper goes round its
// targets, so that is the one it needs next.
func (p *pool) keep(s *service, c *conn) {
	if p.idle.n >= mostIdle() {
		c.close()
		p.tidy(s)
		return
	}
	c.kept, c.service, c.idleSince = true, s, time.Now()
	p.idle.push(c)
	s.idle = append(s.idle, c)
	if len(s.idle) > limits.MaxIdlePerTarget {
		p.drop(s.idle[0])
	}
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(limits.BackendIdleTimeout, p.sweep)
	}
}

func (p *pool) drop(c *conn) {
	s := c.service
	p.remove(c)
	c.close()
	p.tidy(s)
}

// remove takes c out of those that are idle.
func (p *pool) remove(c *conn) {
	p.idle.remove(c)
	i := slices.Index(c.service.idle, c)
	c.service.idle = slices.Delete(c.service.idle, i, i+1)
	c.service = nil
}

// tidy forgets s when nothing is left of it.
func (p *pool) tidy(s *service) {
	if s.inFlight == 0 && len(s.idle) == 0 {
		delete(p.services, s.id)
	}
}

// idleList is the idle connections, in the order in which they became that.
type idleList struct {
	oldest, newest *conn
	n              int
}

func (l *idleList) push(c *conn) {
	c.older, c.newer = l.newest, nil
	if l.newest == nil {
		l.oldest = c
	} else {
		l.newest.newer = c
	}
	l.newest = c
	l.n++
}

func (l *idleList) remove(c *conn) {
	if c.older == nil {
		l.oldest = c.newer
	} else {
		c.older.newer = c.newer
	}
	if c.newer == nil {
		l.newest = c.older
	} else {
		c.newer.older = c.older
	}
	c.older, c.newer = nil, nil
	l.n--
}
