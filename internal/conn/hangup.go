package conn

import (
	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// peerClosed reports whether the client has closed the connection or its half of it, even if it sent bytes
// before that nobody has read yet, or whether the connection is closed on this side.
func (c *Conn) peerClosed() (closed bool) {
	err := c.raw.Control(func(fd uintptr) {
		events, err := rawsys.Poll(int(fd), unix.POLLRDHUP)
		closed = err != nil || events != 0
	})
	return closed || err != nil
}

// checkHangUp cancels the context if the client has hung up, else it checks again later. net/http would see a
// hang-up only if nothing was sent before it, such as the next request.
func (c *Conn) checkHangUp() {
	if c.peerClosed() {
		c.cancel()
		return
	}
	c.usage.mu.Lock()
	defer c.usage.mu.Unlock()
	if c.usage.inRequest {
		c.usage.hangUpCheck.Reset(limits.HangUpCheckInterval)
	}
}
