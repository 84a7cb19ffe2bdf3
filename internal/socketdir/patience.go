package socketdir

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// patience has workers make the system calls that may hang, never more than
// limits.MaxBlockingFSCalls at a time: each that hangs holds a thread.
type patience struct {
	idle  chan *worker
	hired chan struct{} // an element for each worker
}

func newPatience() patience {
	return patience{
		idle:  make(chan *worker, limits.MaxBlockingFSCalls),
		hired: make(chan struct{}, limits.MaxBlockingFSCalls),
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
	clock *time.Timer // stopped while nobody waits
}

func newWorker() *worker {
	w := &worker{jobs: make(chan *job, 1), done: make(chan struct{}, 1), clock: time.NewTimer(time.Hour)}
	w.clock.Stop()
	return w
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
	if !w.wait(ctx) {
		return false
	}
	p.idle <- w
	return true
}

// wait reports whether the job was done before ctx ended. If not, the worker is
// its own master again.
func (w *worker) wait(ctx context.Context) bool {
	// The worker's own clock costs less than a context's: nearly always this
	// takes microseconds.
	if deadline, ok := ctx.Deadline(); ok {
		w.clock.Reset(time.Until(deadline))
	}
	select {
	case <-w.done:
		w.clock.Stop()
		return true
	case <-ctx.Done():
	case <-w.clock.C:
	}
	w.clock.Stop()
	if w.waits.CompareAndSwap(true, false) {
		return false
	}
	<-w.done
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
		w := newWorker()
		go w.work(p.idle)
		return w
	default:
	}
	var late <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok { // which ctx may leave to others to watch
		clock := time.NewTimer(time.Until(deadline))
		defer clock.Stop()
		late = clock.C
	}
	select {
	case w := <-p.idle:
		return w
	case <-ctx.Done():
		return nil
	case <-late:
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

// patiently returns what call returns, or, if ctx ends before, ErrTimeout; what
// call returns later goes to discard.
func patiently[T any](ctx context.Context, f Dir, call func() (T, error), discard func(T)) (T, error) {
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

func (f Dir) hangs() error { return fmt.Errorf("%w: %s", ErrTimeout, f) }
