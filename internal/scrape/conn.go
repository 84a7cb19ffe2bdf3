package scrape

import (
	"container/list"
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/sockdir"
)

// conn is a connection to a service. It holds no buffer: buffers belong to a
// scrape, since most connections are idle most of the time.
type conn struct {
	*net.UnixConn
	raw  syscall.RawConn
	id   sockdir.ID
	open *atomic.Int64

	// While idle, guarded by the pool.
	idleSince time.Time
	place     *list.Element
}

func dial(ctx context.Context, s sockdir.Socket, open *atomic.Int64) (*conn, error) {
	uc, id, err := s.Dial(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		uc.Close()
		return nil, err
	}
	open.Add(1)
	return &conn{UnixConn: uc, raw: raw, id: id, open: open}, nil
}

func (c *conn) close() {
	c.UnixConn.Close()
	c.open.Add(-1)
}

// pending is what a connection has to say before it is read.
type pending int

const (
	silent pending = iota // nothing has come, and it is open
	unread                // bytes have come
	closed                // the service closed it
)

// pending looks without waiting and without taking anything.
func (c *conn) pending() pending {
	p := closed
	c.raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			p = silent
		case err == nil && n > 0:
			p = unread
		}
	})
	return p
}
