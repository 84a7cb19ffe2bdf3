package conn

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// drainQueue has the connections whose clients have a response left to read, in the order in which they began
// to, and at most limits.MaxUndrained of them. One more ends the wait for the first: over any network, a client
// that reads has read its response by then.
type drainQueue struct {
	mu      sync.Mutex
	waiting list.List // of *atomic.Bool, which tells whether the wait was ended
}

func (q *drainQueue) enter() *list.Element {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait := q.waiting.PushBack(new(atomic.Bool))
	if q.waiting.Len() > limits.MaxUndrained {
		q.waiting.Remove(q.waiting.Front()).(*atomic.Bool).Store(true)
	}
	return wait
}

func (q *drainQueue) leave(wait *list.Element) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting.Remove(wait)
}

// WaitDrained waits until the client has read what was sent, so that the kernel holds only what is on its way.
// It reports false if that was not so by deadline, or when limits.MaxUndrained other connections wait for the
// same: then the connection should be reset, or the kernel would hold on to what nobody reads.
func (c *Conn) WaitDrained(deadline time.Time) bool {
	if c.isDrained() {
		return true
	}
	wait := c.group.undrained.enter()
	defer c.group.undrained.leave(wait)
	const maxPause = 50 * time.Millisecond
	for pause := time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, maxPause) {
		time.Sleep(pause)
		if c.isDrained() {
			return true
		}
		if wait.Value.(*atomic.Bool).Load() {
			break
		}
	}
	c.group.OnSlowClient(c)
	return false
}

// isDrained reports whether nothing waits in the kernel for the client to read what came before it. A connection
// that has ended counts as drained.
func (c *Conn) isDrained() bool {
	unsent := 0
	c.raw.Control(func(fd uintptr) { unsent, _ = rawsys.Unsent(int(fd)) })
	return unsent == 0
}
