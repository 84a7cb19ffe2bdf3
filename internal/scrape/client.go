// Package scrape performs one scrape of one socket, with a deadline. Over a pooled Unix
// connection it sends a GET request in HTTP/1.1 (RFC 9110, RFC 9112); from a raw socket,
// which writes its metrics to each new connection, it just reads. The metrics of a Varlink service
// become text here.
//
// It gets a request and a socket, and knows no target.
//
// # Security
//
// The service is treated as hostile:
//
//   - The size of a head, the number of interim responses, time and memory are limited
//     (package limits). Memory is allocated as bytes arrive, not as they are announced.
//   - Whatever two parsers could read in two ways is an error, since the next parser may
//     choose the other way: two lengths, a length and chunks, folded lines, control
//     characters.
//   - A response is complete or it is an error. Nothing but its media type, its encoding
//     and its body is passed on.
//   - A connection on which bytes follow a response is closed, so these bytes never
//     become the beginning of another response.
//   - A connection belongs to the inode of one socket, so it is never used for a service
//     that took another's place.
package scrape

import (
	"container/list"
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// Client scrapes sockets and keeps connections to them for limits.BackendIdleTimeout. It does not
// limit how many scrapes are in flight: its callers do. The zero value is ready for use,
// by any number of goroutines.
type Client struct {
	pool pool

	varlinkMu sync.Mutex
	varlink   map[string]*varlinkService // by path
}

// Do scrapes s. It returns as soon as it has the complete response or, if the body is larger than
// limits.MaxBufferedBody, the beginning of it. The caller must close the Response.
//
// The scrape ends at the deadline of ctx, or when ctx is canceled. Do watches the clock
// itself, so ctx need not end at its deadline.
//
// The error wraps one of this package or of package socketdir.
func (c *Client) Do(ctx context.Context, s socketdir.Socket, req Request) (*Response, error) {
	resp, err := c.do(ctx, s, req)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		err = ErrCanceled
	}
	return resp, err
}

func (c *Client) do(ctx context.Context, s socketdir.Socket, req Request) (*Response, error) {
	if req.Protocol == Varlink {
		return c.doVarlink(ctx, s, req)
	}
	if req.Protocol != Raw { // A raw socket writes to new connections only.
		idle, err := c.idle(ctx, s)
		if err != nil {
			return nil, err
		}
		if idle != nil {
			resp, err := newRoundTrip(ctx, idle, req).do()
			// A service may close an idle connection at any moment, even when a request is on its way.
			// So that is no failure of the scrape.
			if !errors.Is(err, errNoResponse) {
				return resp, err
			}
		}
	}
	fresh, err := dial(ctx, s, &c.pool)
	if err != nil {
		return nil, err
	}
	return newRoundTrip(ctx, fresh, req).do()
}

// idle returns an idle connection to s, or nil if there is none, or only one to a socket that had
// the place of s before.
func (c *Client) idle(ctx context.Context, s socketdir.Socket) (*conn, error) {
	idle := c.pool.get(s.String())
	if idle == nil {
		return nil, nil
	}
	id, err := s.Lookup(ctx)
	if err == nil && id == idle.id {
		return idle, nil
	}
	idle.close()
	return nil, err
}

// Connections returns how many connections to services are open, idle or in use.
func (c *Client) Connections() int { return int(c.pool.open.Load()) }

// conn is a connection to a service. It has no buffer: a round trip brings its own.
type conn struct {
	*os.File
	raw    syscall.RawConn
	path   string       // of the socket
	id     socketdir.ID // of the socket that was reached
	pool   *pool
	dialed time.Time
	reused bool // it has served a scrape before

	// Guarded by pool.mu, and set while the connection is idle.
	idleSince time.Time
	age       *list.Element
}

// dial connects to s. The connection counts as open in p until it is closed.
func dial(ctx context.Context, s socketdir.Socket, p *pool) (*conn, error) {
	file, id, err := s.Dial(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	p.open.Add(1)
	return &conn{File: file, raw: raw, path: s.String(), id: id, pool: p, dialed: time.Now()}, nil
}

func (c *conn) close() {
	c.File.Close()
	c.pool.open.Add(-1)
}
