// Package conn tracks a client's connection from accept to close: what the client may send before a request,
// whether it reads its response, and whether it has hung up.
//
// Clients are hostile until checked. A connection that made no request yet may send limits.MaxPreRequestBytes,
// and its TLS handshake takes a slot of limits.Authentication for as long as there is something to compute. A client
// that does not read its response is disconnected, so that the kernel does not keep the response for it (see
// drainQueue).
package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Group is what the connections of one server have in common. Its functions are set before the first connection
// is made.
type Group struct {
	OnClose      func(*Conn) // called once for each connection, when it is closed
	OnSlowClient func(*Conn) // called if a connection should be reset: its client did not read a response
	OnOverrun    func(*Conn) // called if a connection is reset: its client sent more than a request needs

	undrained drainQueue
	lingering atomic.Int32 // connections in linger
}

// Conn is a client's connection. It is a net.Conn for net/http; package http1 uses the descriptor itself (Raw).
type Conn struct {
	net.Conn
	group  *Group
	raw    syscall.RawConn
	source netip.Prefix
	usage  usage
	ctx    context.Context // see Context
	cancel context.CancelFunc

	pending []byte // read, but not yet returned by Read

	closing atomic.Bool // CloseBy was called
	closed  sync.Once
}

// New returns a Conn for c, which must be a TCP or Unix connection. handshakes tells whether the connection
// begins with a TLS handshake.
func (g *Group) New(c net.Conn, handshakes bool) *Conn {
	raw, _ := c.(syscall.Conn).SyscallConn() // These two kinds of connections return no error.
	tracked := &Conn{Conn: c, group: g, raw: raw, source: SourcePrefix(c.RemoteAddr().String())}
	tracked.ctx, tracked.cancel = context.WithCancel(context.WithValue(context.Background(), contextKey{}, tracked))
	tracked.usage = usage{handshakes: handshakes, budget: limits.MaxPreRequestBytes, idleSince: time.Now()}
	tracked.usage.hangUpCheck = time.AfterFunc(time.Hour, tracked.checkHangUp)
	tracked.usage.hangUpCheck.Stop()
	return tracked
}

type contextKey struct{}

// Context returns the context of the connection's requests. It ends when the client hangs up during one, or the
// connection is closed.
func (c *Conn) Context() context.Context { return c.ctx }

// FromContext returns the connection whose Context ctx derives from.
func FromContext(ctx context.Context) *Conn { return ctx.Value(contextKey{}).(*Conn) }

// Raw gives access to the connection's descriptor.
func (c *Conn) Raw() syscall.RawConn { return c.raw }

// Source returns the SourcePrefix of the client.
func (c *Conn) Source() netip.Prefix { return c.source }

// PushBack makes Read return received first. It must not be called after Read.
func (c *Conn) PushBack(received string) { c.pending = []byte(received) }

var errOverrun = errors.New("the client sent more than a request needs")

// Read reads what the client sent. It resets the connection if that is more than a request needs.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.pending) == 0 {
		if !c.usage.beforeRequest() {
			return c.read(p)
		}
		// The ClientHello comes in one read, or each part of it would wait for a slot.
		buffer := make([]byte, limits.PreRequestReadSize)
		n, err := c.read(buffer)
		if n == 0 {
			return 0, err
		}
		c.pending = buffer[:n]
	}
	if !c.usage.acquireSlot(c.ctx) {
		return 0, net.ErrClosed
	}
	n := copy(p, c.pending)
	if c.pending = c.pending[n:]; len(c.pending) == 0 {
		c.pending = nil
	}
	return n, nil
}

func (c *Conn) read(p []byte) (int, error) {
	c.usage.releaseSlot()
	n, err := c.Conn.Read(p)
	if n > 0 && !c.usage.spend(n) {
		c.group.OnOverrun(c)
		c.Abort()
		return 0, errOverrun
	}
	if n == len(p) {
		limits.Yield() // The client may always have more to send.
	}
	return n, err
}

// Write writes p. It gives back the slot of a TLS handshake first: what is written has been computed, and
// writing it may have to wait for the client.
func (c *Conn) Write(p []byte) (int, error) {
	c.usage.releaseSlot()
	return c.Conn.Write(p)
}

// Close closes the connection once the client has read what was sent, or resets it after
// limits.ErrorWriteTimeout. It does not wait for that.
func (c *Conn) Close() error {
	c.CloseBy(time.Now().Add(limits.ErrorWriteTimeout))
	return nil
}

// CloseBy closes the connection once the client has read what was sent, or resets it at deadline. It does not
// wait for that.
func (c *Conn) CloseBy(deadline time.Time) {
	if c.closing.Swap(true) {
		return
	}
	c.cancel()
	c.usage.releaseSlot()
	go func() {
		if !c.WaitDrained(deadline) {
			c.Abort()
			return
		}
		c.linger()
		c.CloseNow()
	}()
}

// linger lets the client read the end of what was sent, such as the reason why TLS failed. Closing a connection
// before what the client sent is read would reset it.
func (c *Conn) linger() {
	defer c.group.lingering.Add(-1)
	if c.group.lingering.Add(1) > limits.MaxUndrained {
		return
	}
	c.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	c.SetReadDeadline(time.Now().Add(limits.LingerTimeout))
	io.CopyN(io.Discard, c.Conn, limits.MaxRequestHead)
}

// Abort resets the connection: the kernel forgets what the client did not read.
func (c *Conn) Abort() {
	c.raw.Control(func(fd uintptr) {
		unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	c.CloseNow()
}

// CloseNow closes the connection. The kernel still sends what was written.
func (c *Conn) CloseNow() {
	c.closed.Do(func() {
		c.cancel()
		c.usage.releaseSlot()
		c.Conn.Close()
		c.group.OnClose(c)
	})
}

// SourcePrefix returns the key under which limits per client count a connection from remote, an address with a
// port: the address itself, or its /64 for public IPv6 addresses, because one client has many of those. It
// returns the zero Prefix if remote is not an address with a port.
func SourcePrefix(remote string) netip.Prefix {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip := addr.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsPrivate() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}
