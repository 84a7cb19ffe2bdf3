package socketdir

import (
	"context"
	"fmt"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// workerPool runs calls to the file system, at most limits.MaxBlockingFSCalls at a time:
// one that hangs holds a thread until it returns. Workers are reused, since a new goroutine
// would have to grow its stack for each call.
type workerPool struct {
	slots *limits.Semaphore // one is taken for each call that runs
	idle  chan *worker
}

type worker struct {
	calls    chan func()
	finished chan struct{}
	deadline *time.Timer // of the call that runs
}

func newWorkerPool() *workerPool {
	const size = limits.MaxBlockingFSCalls
	return &workerPool{slots: limits.NewSemaphore(size), idle: make(chan *worker, size)}
}

// get returns an idle worker or a new one. The caller has a slot.
func (p *workerPool) get() *worker {
	select {
	case w := <-p.idle:
		return w
	default:
	}
	w := &worker{calls: make(chan func()), finished: make(chan struct{}, 1), deadline: time.NewTimer(0)}
	go func() {
		for call := range w.calls {
			call()
			w.finished <- struct{}{}
		}
	}()
	return w
}

// put makes w idle, and gives its slot back.
func (p *workerPool) put(w *worker) {
	w.deadline.Stop()
	p.idle <- w
	p.slots.Release()
}

// runWithDeadline returns what call returns, or ErrTimeout if ctx ends first. A value that
// call returns after that is passed to discard, if that is not nil.
//
// It watches the deadline of ctx itself: the context of a scrape knows its deadline, but
// its Done channel stays open when the deadline passes.
func runWithDeadline[T any](ctx context.Context, d Dir, call func() (T, error), discard func(T)) (T, error) {
	var value, zero T
	var err error
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(24 * time.Hour)
	}
	if !d.workers.slots.Acquire(ctx, time.Until(deadline)) {
		return zero, fmt.Errorf("%w: %s", ErrTimeout, d)
	}
	w := d.workers.get()
	w.deadline.Reset(time.Until(deadline))
	w.calls <- func() { value, err = call() }
	select {
	case <-w.finished:
		d.workers.put(w)
		return value, err
	case <-ctx.Done():
	case <-w.deadline.C:
	}
	go func() {
		<-w.finished
		if err == nil && discard != nil {
			discard(value)
		}
		d.workers.put(w)
	}()
	return zero, fmt.Errorf("%w: %s", ErrTimeout, d)
}
