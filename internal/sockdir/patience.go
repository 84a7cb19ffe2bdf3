package sockdir

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// patience has workers make the system calls that may hang, never more than
// limits.FolderCalls at a time: each that hangs holds a thread.
type patience struct {
	idle  chan *worker
	hired chan struct{} // an element for each worker
}

func newPatience() patience {
	return patience{
		idle:  make(chan *worker, limits.FolderCalls),
		hired: make(chan struct{}, limits.FolderCalls),
	}
}

// job is something to do.
type job struct {
	run  func()
	late func() // what remains to be done when nobody waited for run's end
}

// worker does one job after the other.
type worker struct {
	jobs  chan *job
	done  chan struct{}
	waits atomic.Bool // somebody waits; whoever takes it back decides between done and late
}

// do reports whether j was done before ctx ended, by its deadline or otherwise.
// If not, j may still be under way, or never be done.
func (p patience) do(ctx context.Context, j *job) bool {
	w := p.worker(ctx)
	if w == nil {
		return false
	}
	w.waits.Store(true)
	w.jobs <- j
	// Nearly always it takes microseconds, for which a timer is not worth it.
	runtime.Gosched()
	select {
	case <-w.done:
		p.idle <- w
		return true
	default:
	}
	ctx, cancel := untilDeadline(ctx)
	defer cancel()
	select {
	case <-w.done:
	case <-ctx.Done():
		if w.waits.CompareAndSwap(true, false) {
			return false
		}
		<-w.done
	}
	p.idle <- w
	return true
}

// worker returns a worker that has nothing to do, nil if ctx ends before there is
// one.
func (p patience) worker(ctx context.Context) *worker {
	select {
	case w := <-p.idle:
		return w
	default:
	}
	select {
	case p.hired <- struct{}{}:
		w := &worker{jobs: make(chan *job, 1), done: make(chan struct{}, 1)}
		go w.work(p.idle)
		return w
	default:
	}
	ctx, cancel := untilDeadline(ctx)
	defer cancel()
	select {
	case w := <-p.idle:
		return w
	case <-ctx.Done():
		return nil
	}
}

func (w *worker) work(idle chan<- *worker) {
	for j := range w.jobs {
		j.run()
		if w.waits.CompareAndSwap(true, false) {
			w.done <- struct{}{}
		} else {
			j.late()
			idle <- w
		}
	}
}

// untilDeadline returns a context that ends when that of ctx's deadline comes: a
// context may know its deadline and leave it to others to watch the clock.
func untilDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline)
	}
	return ctx, func() {}
}

// patiently returns what call returns, or, if ctx ends before, ErrHangs; what
// call returns later goes to discard.
func patiently[T any](ctx context.Context, f Folder, call func() (T, error), discard func(T)) (T, error) {
	var (
		value, none T
		err         error
	)
	j := job{
		run: func() { value, err = call() },
		late: func() {
			if err == nil {
				discard(value)
			}
		},
	}
	if f.do(ctx, &j) {
		return value, err
	}
	return none, f.hangs()
}

// nothing is what there is to do about a value that holds nothing.
func nothing[T any](T) {}

func (f Folder) hangs() error { return fmt.Errorf("%w: %s", ErrHangs, f) }
