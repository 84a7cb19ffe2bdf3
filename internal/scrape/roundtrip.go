package scrape

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// roundTrip is one request and its response on one connection. Round trips are reused,
// since each scrape needs one.
type roundTrip struct {
	ctx  context.Context
	conn *conn
	req  Request

	request []byte // as it is sent
	started bool   // request has been sent, or a part of it
	unsent  []byte // rest of request
	noReuse bool   // the connection must not serve another request

	buf        *buffer // reads go to buf[end:]
	start, end int     // buf[start:end] has been read but not parsed
	received   int64   // bytes, including the head
	readErr    error
	resumed    bool // the wait was interrupted, so there may be nothing to read

	resp Response
	// Method values, made once because each costs an allocation.
	onReady, onMore func(fd uintptr) (done bool)
}

var roundTripPool = sync.Pool{New: func() any {
	rt := new(roundTrip)
	rt.onReady, rt.onMore = rt.sendAndRead, rt.tryRead
	return rt
}}

// newRoundTrip returns a round trip on c that ends at the deadline of ctx, or soon after ctx is canceled.
func newRoundTrip(ctx context.Context, c *conn, req Request) *roundTrip {
	rt := roundTripPool.Get().(*roundTrip)
	*rt = roundTrip{
		ctx: ctx, conn: c, req: req, request: req.appendTo(rt.request[:0]),
		onReady: rt.onReady, onMore: rt.onMore,
	}
	rt.interruptSoon()
	return rt
}

// interruptSoon makes waits on the connection end at the deadline of ctx, or sooner to check whether ctx has been
// canceled. Most scrapes are over by then, so that is cheaper than context.AfterFunc.
func (rt *roundTrip) interruptSoon() {
	soon := time.Now().Add(limits.HangUpCheckInterval)
	if deadline, ok := rt.ctx.Deadline(); ok && deadline.Before(soon) {
		soon = deadline
	}
	rt.conn.SetDeadline(soon)
}

// resume reports whether a wait that ended with err should go on: it was only interrupted to check ctx.
func (rt *roundTrip) resume(err error) bool {
	deadline, ok := rt.ctx.Deadline()
	if !errors.Is(err, os.ErrDeadlineExceeded) || rt.ctx.Err() != nil || ok && !time.Now().Before(deadline) {
		return false
	}
	rt.resumed = true
	rt.interruptSoon()
	return true
}

// await calls onReady at once, and then whenever the connection becomes readable, until it returns true.
func (rt *roundTrip) await(onReady func(fd uintptr) bool) error {
	for {
		err := rt.conn.raw.Read(onReady)
		if err == nil {
			return rt.readErr
		}
		if !rt.resume(err) {
			return err
		}
	}
}

// do sends the request and returns the response. After an error, rt must not be used any more.
func (rt *roundTrip) do() (*Response, error) {
	rt.resp.rt = rt
	err := rt.send()
	if err == nil {
		err = rt.resp.read()
	}
	if err != nil {
		rt.finish(false)
		return nil, err
	}
	return &rt.resp, nil
}

// send sends the request and reads the first bytes of the response.
func (rt *roundTrip) send() error {
	err := rt.await(rt.onReady)
	if err == nil && len(rt.unsent) > 0 {
		rt.sendRest()
		err = rt.await(rt.onReady)
	}
	if err != nil {
		return rt.readError(err)
	}
	return nil
}

// sendRest sends the rest of a request that did not fit into the socket's buffer.
func (rt *roundTrip) sendRest() {
	for len(rt.unsent) > 0 {
		n, err := rt.conn.Write(rt.unsent)
		rt.unsent = rt.unsent[n:]
		if err != nil && !rt.resume(err) {
			rt.unsent, rt.noReuse = nil, true
		}
	}
}

// sendAndRead is called with the connection's descriptor, first at once and then, while
// it returns false, whenever the connection becomes readable. The runtime misses nothing
// that arrives after the first call began, so the request is sent within that call: this
// saves a read that would find nothing, and a buffer until the response begins.
func (rt *roundTrip) sendAndRead(fd uintptr) (done bool) {
	if !rt.started {
		rt.started = true
		quiet := rt.isFreshHTTP() || isQuiet(fd)
		if rt.conn.reused && !quiet {
			// It was closed, or bytes followed the previous response and would be
			// mistaken for the beginning of this one.
			rt.readErr = io.EOF
			return true
		}
		rt.writeRequest(fd)
		if rt.conn.reused && rt.noReuse {
			rt.readErr = io.EOF // The service no longer reads requests.
			return true
		}
		if len(rt.unsent) > 0 {
			return true
		}
		if quiet && !rt.noReuse {
			return false
		}
	}
	if rt.buf == nil {
		if rt.resumed && isQuiet(fd) {
			return false
		}
		if rt.readErr = rt.nextBuffer(); rt.readErr != nil {
			return true
		}
	}
	return rt.tryRead(fd)
}

// isFreshHTTP reports whether the connection is new and there is a request to send. So there is nothing to read
// yet; what a service sent without waiting is read after limits.HangUpCheckInterval, and is no HTTP.
func (rt *roundTrip) isFreshHTTP() bool { return !rt.conn.reused && len(rt.request) > 0 }

// tryRead reads into the rest of the buffer, which must not be full. It returns false if
// there is nothing to read yet. After an error it reads no more: the kernel reports a
// reset only once, and then the end of the stream, which may be how a body ends.
func (rt *roundTrip) tryRead(fd uintptr) (done bool) {
	if rt.readErr != nil {
		return true
	}
	n, err := rawsys.Read(int(fd), rt.buf[rt.end:])
	switch {
	case err == unix.EAGAIN:
		return false
	case err != nil:
		n = 0
	case n == 0:
		err = io.EOF
	}
	rt.end, rt.received, rt.readErr = rt.end+n, rt.received+int64(n), err
	return true
}

// isQuiet reports whether the connection fd is open and has nothing to read.
func isQuiet(fd uintptr) bool {
	events, err := rawsys.Poll(int(fd), unix.POLLIN|unix.POLLRDHUP)
	return err == nil && events == 0
}

// writeRequest writes as much of the request as the socket accepts. After a failure there
// may still be something to read: a service may respond before it has read the request,
// and reading shows what is wrong with the connection.
func (rt *roundTrip) writeRequest(fd uintptr) {
	if len(rt.request) == 0 {
		return
	}
	n, err := rawsys.Write(int(fd), rt.request)
	switch {
	case err == unix.EAGAIN:
		rt.unsent = rt.request
	case err != nil:
		rt.noReuse = true
	default:
		rt.unsent = rt.request[n:]
	}
}

// fill waits for data and reads it into the rest of the buffer, which must not be full.
func (rt *roundTrip) fill() error { return rt.await(rt.onMore) }

// nextBuffer makes rt read into an empty buffer. The one before stays in use until releaseFull.
func (rt *roundTrip) nextBuffer() (err error) {
	if rt.buf != nil {
		rt.resp.full = append(rt.resp.full, rt.buf)
	}
	rt.start, rt.end = 0, 0
	rt.buf, err = getBuffer()
	return err
}

// finish ends the round trip and its response. It gives the connection back to the pool
// if keep is true and it can serve another request; otherwise it closes it.
func (rt *roundTrip) finish(keep bool) {
	if keep && !rt.noReuse {
		rt.conn.pool.put(rt.conn)
	} else {
		rt.conn.close()
	}
	rt.resp.releaseFull()
	if rt.buf != nil {
		putBuffer(rt.buf)
		rt.buf = nil
	}
	rt.ctx, rt.conn, rt.req = nil, nil, Request{} // for the garbage collector
	roundTripPool.Put(rt)
}
