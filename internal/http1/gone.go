package http1

import (
	"context"
	"sync"
	"time"
)

// gone is the context of all requests of one connection: it ends when the scraper
// hangs up.
type gone struct {
	done   chan struct{}
	mu     sync.Mutex
	onGone func()
	forget func() bool
}

func newGone() *gone {
	g := &gone{done: make(chan struct{})}
	g.forget = g.forgetFunc
	return g
}

// Deadline returns that there is none.
func (g *gone) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value returns that there is none.
func (g *gone) Value(any) any { return nil }

// Done is closed when the scraper hangs up.
func (g *gone) Done() <-chan struct{} { return g.done }

// Err returns context.Canceled when the scraper has hung up.
func (g *gone) Err() error {
	if g.is() {
		return context.Canceled
	}
	return nil
}

func (g *gone) is() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

func (g *gone) hangUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.is() {
		return
	}
	close(g.done)
	if g.onGone != nil {
		g.onGone()
		g.onGone = nil
	}
}

// AfterFunc is what context.AfterFunc asks for: it arranges to call f when the
// scraper hangs up. One f at a time costs nothing, as one thing at a time is done
// for a scrape. The function that it returns takes that back, and reports whether
// it was in time.
func (g *gone) AfterFunc(f func()) (stop func() bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.is():
		go f()
	case g.onGone != nil:
		return context.AfterFunc(struct{ context.Context }{g}, f) // as for any context
	default:
		g.onGone = f
	}
	return g.forget
}

func (g *gone) forgetFunc() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	inTime := g.onGone != nil
	g.onGone = nil
	return inTime
}
