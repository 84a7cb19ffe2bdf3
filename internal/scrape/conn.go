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
	kept bool // it served a scrape before

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

// silent reports whether fd, a connection, is open and nothing has come that was
// not read. It takes nothing.
func silent(fd uintptr) bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == unix.EAGAIN
}
