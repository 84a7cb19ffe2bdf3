package conn

import (
	"container/list"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// responseSize is more than the kernel sends to a client that does not read.
const responseSize = 256 << 10

// The kernel holds what a client does not read until the deadline at most, or until too many
// others that came later have a response to read. A client that reads late, but before that,
// gets everything.
func TestResponseNotRead(t *testing.T) {
	const short, long = 100 * time.Millisecond, 15 * time.Second
	for way, wait := range map[string]func(c *Conn, timeout time.Duration){
		"before the next request": func(c *Conn, timeout time.Duration) {
			if !c.WaitDrained(time.Now().Add(timeout)) {
				c.Abort()
			}
			c.CloseNow()
		},
		"before closing": func(c *Conn, timeout time.Duration) { c.CloseBy(time.Now().Add(timeout)) },
	} {
		for name, tt := range map[string]struct {
			timeout time.Duration
			late    bool // the client reads only after a while
			before  int  // other clients that do not read, from before
			later   int  // and from later
			lost    bool
		}{
			"soon":                    {timeout: long},
			"late":                    {timeout: long, late: true},
			"late, after many others": {timeout: long, late: true, before: limits.MaxUndrained},
			"before many others":      {timeout: long, later: limits.MaxUndrained, lost: true},
			"never":                   {timeout: short, lost: true},
		} {
			t.Run(way+"/"+name, func(t *testing.T) {
				t.Parallel()
				group, n := newGroup()
				c, client := pair(t, group, false)
				var first *list.Element
				for range tt.before {
					if e := group.undrained.enter(); first == nil {
						first = e
					}
				}
				if _, err := c.Write(make([]byte, responseSize)); err != nil {
					t.Fatal(err)
				}
				go wait(c, tt.timeout)
				if tt.late || tt.later > 0 {
					eventually(t, "it waits for the client", func() bool {
						if first != nil { // It took the place of the first.
							return first.Value.(*atomic.Bool).Load()
						}
						return group.undrained.len() == 1
					})
				}
				for range tt.later {
					group.undrained.enter()
				}
				if tt.late {
					time.Sleep(100 * time.Millisecond)
				}
				if tt.lost {
					eventually(t, "the connection is closed", func() bool { return n.closed.Load() == 1 })
				}
				got, err := io.CopyN(io.Discard, client, responseSize)
				if isReset(err) != tt.lost || (err == nil) == tt.lost {
					t.Errorf("client read %d bytes, %v; want a reset: %v", got, err, tt.lost)
				}
				client.Close()
				eventually(t, "the connection is closed", func() bool { return n.closed.Load() == 1 })
				if got := n.slow.Load() == 1; got != tt.lost {
					t.Errorf("counted as a slow client: %v, want %v", got, tt.lost)
				}
				eventually(t, "nobody waits", func() bool { return group.undrained.len() <= max(tt.before-1, tt.later) })
			})
		}
	}
}

// A client that closes its half of the connection and does not read is not let off: closing would leave the
// response with the kernel for minutes.
func TestResponseNotReadAfterHalfClose(t *testing.T) {
	group, n := newGroup()
	c, client := pair(t, group, false)
	client.CloseWrite()
	eventually(t, "the half-close is seen", c.peerClosed)
	if _, err := c.Write(make([]byte, responseSize)); err != nil {
		t.Fatal(err)
	}
	c.CloseBy(time.Now().Add(50 * time.Millisecond))
	eventually(t, "the connection is closed", func() bool { return n.closed.Load() == 1 })
	if _, err := io.Copy(io.Discard, client); !isReset(err) || n.slow.Load() != 1 {
		t.Errorf("client read %v, want a reset; %d slow clients", err, n.slow.Load())
	}
}

// At most limits.MaxUndrained connections linger; others are closed at once.
func TestLingeringIsBounded(t *testing.T) {
	group, n := newGroup()
	group.lingering.Store(limits.MaxUndrained)
	c, _ := pair(t, group, false)
	c.Close()
	eventually(t, "the connection is closed", func() bool { return n.closed.Load() == 1 })
	if got := group.lingering.Load(); got != limits.MaxUndrained {
		t.Errorf("%d connections linger, want %d", got, limits.MaxUndrained)
	}
}

func (q *drainQueue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.Len()
}
