package limits

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"
)

// Semaphore bounds how many goroutines do one thing at a time. Others wait in line.
type Semaphore struct {
	slots *semaphore.Weighted
	size  int
}

// NewSemaphore returns a Semaphore with size slots.
func NewSemaphore(size int) *Semaphore {
	return &Semaphore{slots: semaphore.NewWeighted(int64(size)), size: size}
}

// Size returns the number of slots.
func (s *Semaphore) Size() int { return s.size }

// TryAcquire takes a slot if one is free, and reports whether it did.
func (s *Semaphore) TryAcquire() bool { return s.slots.TryAcquire(1) }

// Acquire takes a slot, and reports whether it did. It waits until timeout is over or ctx ends.
func (s *Semaphore) Acquire(ctx context.Context, timeout time.Duration) bool {
	if s.TryAcquire() {
		return true
	}
	// Not context.WithTimeout: it makes no timer if ctx has an earlier deadline, and the context
	// of a scrape does not end at its deadline.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(timeout, cancel).Stop()
	return s.slots.Acquire(ctx, 1) == nil
}

// Release gives a slot back.
func (s *Semaphore) Release() { s.slots.Release(1) }

// Expensive bounds work that keeps the processor busy for milliseconds: pages, lists, Aegis' own metrics
// and decompression. Authentication bounds TLS handshakes and password hashes, so that clients that are
// not let in yet do not keep the others waiting. Scrapes need no slot.
var Expensive, Authentication = NewSemaphore(MaxExpensive), NewSemaphore(MaxExpensive)

// Yield lets everything else that is ready run first. Aegis runs on one processor, where a goroutine that never
// waits keeps going for 10 ms. A peer that always has more to send would delay all others by that, many times over.
func Yield() { runtime.Gosched() }
