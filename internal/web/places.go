package web

import (
	"context"
	"time"
)

// places bounds how many requests do a thing at once: it has an element for each
// that does, and room for no more.
type places chan struct{}

// enter takes a place, until leave. While there is none it waits, for at most
// patience and not beyond the end of ctx; it returns whether it got one.
func (p places) enter(ctx context.Context, patience time.Duration) bool {
	select {
	case p <- struct{}{}:
		return true
	default:
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case p <- struct{}{}:
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return false
}

func (p places) leave() { <-p }
