package scrape

import (
	"context"
	"errors"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// Client scrapes sockets. The zero value is ready for use, by any number of
// goroutines.
type Client struct {
	pool pool
	open atomic.Int64
}

// Get scrapes s: it returns when the whole answer is here or, where that is
// larger than limits.MaxBufferedBody, its beginning. The caller must Close the Response.
// The end of ctx, by deadline or because the scraper went away, ends the scrape
// at once. It is enough that ctx knows its deadline: the scrape watches the clock
// itself.
//
// The error wraps one of this package's or of package socketdir's.
func (c *Client) Get(ctx context.Context, s socketdir.Socket, req Request) (*Response, error) {
	service, kept, err := c.pool.admit(s.ID)
	if err != nil {
		return nil, err
	}
	a, err := c.get(ctx, s, kept, req)
	if err != nil {
		c.pool.leave(service, nil)
		return nil, err
	}
	a.pool, a.service = &c.pool, service
	return a, nil
}

// get scrapes s over kept, if that is not nil and still leads anywhere.
func (c *Client) get(ctx context.Context, s socketdir.Socket, kept *conn, req Request) (*Response, error) {
	if kept != nil {
		a, err := newExchange(ctx, kept, req).scrape()
		// A service may close a kept connection at any moment, also while a
		// request is on its way: that says nothing of the service.
		if !errors.Is(err, errUnanswered) {
			return a, err
		}
	}
	fresh, err := dial(ctx, s, &c.open)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			err = ErrCanceled
		}
		return nil, err
	}
	return newExchange(ctx, fresh, req).scrape()
}

// Connections returns how many connections to services are open, idle or in
// use.
func (c *Client) Connections() int { return int(c.open.Load()) }

// InFlight returns how many scrapes are under way.
func (c *Client) InFlight() int {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return c.pool.inFlight
}

// Retain closes the connections that no scrape is using, but for those to
// sockets in ids.
func (c *Client) Retain(ids map[socketdir.ID]bool) { c.pool.retain(ids) }

// Do is Get.
func (c *Client) Do(ctx context.Context, s socketdir.Socket, req Request) (*Response, error) {
	return c.Get(ctx, s, req)
}
