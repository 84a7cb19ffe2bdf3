package scrape

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// conn is a connection to a service. It holds no buffer: buffers belong to a
// scrape, since most connections are idle most of the time.
type conn struct {
	*os.File
	raw  syscall.RawConn
	id   socketdir.ID
	open *atomic.Int64
	kept bool // it served a scrape before

	// While idle, guarded by the pool.
	service      *service
	idleSince    time.Time
	older, newer *conn
}

func dial(ctx context.Context, s socketdir.Socket, open *atomic.Int64) (*conn, error) {
	file, id, err := s.Dial(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	open.Add(1)
	return &conn{File: file, raw: raw, id: id, open: open}, nil
}

func (c *conn) close() {
	c.File.Close()
	c.open.Add(-1)
}
