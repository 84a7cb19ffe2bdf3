package conn

import (
	"context"
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// usage tracks how a client uses its connection: what it sent before a request, and whether a request of it was
// accepted.
type usage struct {
	hangUpCheck *time.Timer // runs while inRequest

	mu         sync.Mutex
	budget     int  // bytes that the client may send before the next request
	handshakes bool // what it sends before the first request costs processor time
	slot       bool // the connection has a slot of limits.Authentication
	requested  bool
	inRequest  bool
	authorized bool
	idleSince  time.Time // if not inRequest
	handedOff  bool      // net/http serves the connection
}

// beforeRequest reports whether this is a TLS connection without a request so far.
func (u *usage) beforeRequest() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.handshakes && !u.requested
}

// spend takes n bytes from the budget, and reports whether it had them.
func (u *usage) spend(n int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.budget -= n
	return u.budget >= 0
}

// acquireSlot waits for a slot to work on a TLS handshake. The next read or write, the first request or the end
// of the connection releases it. acquireSlot reports false if there was none in time or ctx, that of the
// connection, has ended.
func (u *usage) acquireSlot(ctx context.Context) bool {
	u.mu.Lock()
	needed := u.handshakes && !u.requested && !u.slot
	u.mu.Unlock()
	if !needed {
		return true
	}
	if !limits.Authentication.Acquire(ctx, limits.ReadHeaderTimeout) {
		return false
	}
	limits.Yield() // A handshake computes without a pause. Let others run first; they find the slot taken.
	u.mu.Lock()
	defer u.mu.Unlock()
	u.slot = true
	ended := ctx.Err() != nil
	if ended || u.requested { // This happened during the wait, so nothing else would release the slot soon.
		u.release()
	}
	return !ended
}

func (u *usage) releaseSlot() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.release()
}

// release is called with u.mu held.
func (u *usage) release() {
	if u.slot {
		u.slot = false
		limits.Authentication.Release()
	}
}

// BeginRequest notes that a request has arrived. Until EndRequest, the connection's context ends soon after the
// client hangs up.
func (c *Conn) BeginRequest() {
	u := &c.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hangUpCheck.Reset(limits.HangUpCheckDelay)
	u.release()
	u.requested, u.inRequest = true, true
	u.budget = limits.MaxPreRequestBytes
}

// MarkAuthorized notes that the request was accepted: neither its certificate nor its password was refused.
func (c *Conn) MarkAuthorized() {
	c.usage.mu.Lock()
	defer c.usage.mu.Unlock()
	c.usage.authorized = true
}

// EndRequest notes that the request has been handled.
func (c *Conn) EndRequest() {
	c.usage.mu.Lock()
	defer c.usage.mu.Unlock()
	c.usage.inRequest, c.usage.idleSince = false, time.Now()
	c.usage.hangUpCheck.Stop()
}

// Evictable reports whether the connection may give way to another: it has no request in flight, and none was
// accepted. since is when the connection was made, or its last request ended.
func (c *Conn) Evictable() (since time.Time, ok bool) {
	c.usage.mu.Lock()
	defer c.usage.mu.Unlock()
	return c.usage.idleSince, !c.usage.inRequest && !c.usage.authorized
}

// MarkHandedOff notes that net/http serves the connection from now on and sets its deadlines.
func (c *Conn) MarkHandedOff() {
	c.usage.mu.Lock()
	defer c.usage.mu.Unlock()
	c.usage.handedOff = true
	c.SetReadDeadline(time.Time{}) // Interrupt may have set it.
}

// Interrupt ends the wait for the next request, unless net/http serves the connection.
func (c *Conn) Interrupt() {
	c.usage.mu.Lock()
	defer c.usage.mu.Unlock()
	if !c.usage.handedOff {
		c.SetReadDeadline(aLongTimeAgo)
	}
}

var aLongTimeAgo = time.Unix(1, 0)
