package scrape

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// exchange is one request and its answer on one connection. There is one for
// every scrape, so they are used again.
type exchange struct {
	ctx     context.Context
	conn    *conn
	req     Request
	release func() bool // ends the watch on ctx; false if that came too late

	block      *block // what is read goes to its block[end:]
	start, end int    // block[start:end] is still to be looked at
	received   int64  // bytes, head included

	head   []byte // of the request
	asked  bool
	unsent []byte // of head
	spoilt bool   // the connection is not fit for another request
	err    error  // of what begin and readMore did

	answer Response
	// begin, readMore and abort as functions, made once.
	onReady, onMore func(fd uintptr) bool
	onEnd           func()
}

var exchanges = sync.Pool{New: func() any {
	e := new(exchange)
	e.onReady, e.onMore, e.onEnd = e.begin, e.readMore, e.abort
	return e
}}

// longAgo is a deadline that ends what waits on a connection.
var longAgo = time.Unix(1, 0)

// newExchange returns an exchange, which ends at ctx's deadline or when ctx
// ends, whichever is first.
func newExchange(ctx context.Context, c *conn, req Request) *exchange {
	e := exchanges.Get().(*exchange)
	*e = exchange{ctx: ctx, conn: c, req: req, head: req.appendHead(e.head[:0]), onReady: e.onReady, onMore: e.onMore, onEnd: e.onEnd}
	deadline, _ := ctx.Deadline() // if there is none, zero, which is none to the connection too
	c.SetDeadline(deadline)
	e.release = afterFunc(ctx, e.onEnd)
	return e
}

// afterFunc is context.AfterFunc, without what that adds for a context that has
// such a method itself.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface{ AfterFunc(func()) func() bool }); ok {
		return c.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

func (e *exchange) abort() { e.conn.SetDeadline(longAgo) }

// scrape sends the request and returns the answer; without one, the exchange is
// over.
func (e *exchange) scrape() (*Response, error) {
	a := &e.answer
	a.e = e
	err := e.ask()
	if err == nil {
		err = a.begin()
	}
	if err != nil {
		e.finish(false)
		return nil, err
	}
	return a, nil
}

// ask sends the request and reads the first bytes of the answer.
func (e *exchange) ask() error {
	err := e.conn.raw.Read(e.onReady)
	if err == nil && e.err == nil && len(e.unsent) > 0 {
		// More than the socket's buffer holds: the usual, patient way.
		_, err = e.conn.Write(e.unsent)
		e.unsent, e.spoilt = nil, err != nil
		err = e.conn.raw.Read(e.onReady)
	}
	if err == nil {
		err = e.err
	}
	if err != nil {
		return e.readError(err)
	}
	return nil
}

// begin is called with the connection's descriptor, first at once and then, as
// long as it returns false, whenever something has come. Nothing that comes after
// the first call begins is missed, so the request is sent within it: that spares
// a read of which it is known that it finds nothing. And no memory is taken for
// an answer that has not begun.
func (e *exchange) begin(fd uintptr) (done bool) {
	if !e.asked {
		e.asked = true
		quiet := silent(fd)
		if e.conn.kept && !quiet {
			// Closed; or bytes that came after the last answer, and would be
			// taken for the start of this.
			e.err = io.EOF
			return true
		}
		e.send(fd)
		if e.conn.kept && e.spoilt {
			e.err = io.EOF // It takes no request any more.
			return true
		}
		if len(e.unsent) > 0 {
			return true
		}
		if quiet && !e.spoilt {
			return false
		}
	}
	if e.block == nil {
		if e.err = e.nextBlock(); e.err != nil {
			return true
		}
	}
	return e.readMore(fd)
}

// readMore reads to the end of the block, which must have room. It returns false
// if nothing has come. After an error it reads no more: the kernel tells of a reset
// once, and then of an end, which may be a body's.
func (e *exchange) readMore(fd uintptr) (done bool) {
	if e.err != nil {
		return true
	}
	n, err := rawsys.Read(int(fd), e.block[e.end:])
	switch {
	case err == unix.EAGAIN:
		return false
	case err != nil:
		n = 0
	case n == 0:
		err = io.EOF
	}
	e.end, e.received, e.err = e.end+n, e.received+int64(n), err
	return true
}

// silent reports whether fd, a connection, is open and nothing has come that was
// not read.
func silent(fd uintptr) bool {
	events, err := rawsys.Poll(int(fd), unix.POLLIN|unix.POLLRDHUP)
	return err == nil && events == 0
}

// send writes as much of the request as the socket takes. A failure is no reason
// not to read: a service may answer before it has read the request, and the
// connection says what is wrong.
func (e *exchange) send(fd uintptr) {
	if len(e.head) == 0 {
		return
	}
	n, err := rawsys.Write(int(fd), e.head)
	switch {
	case err == unix.EAGAIN:
		e.unsent = e.head
	case err != nil:
		e.spoilt = true
	default:
		e.unsent = e.head[n:]
	}
}

// fill waits for more, and reads it to the end of the block, which must have room.
func (e *exchange) fill() error {
	if err := e.conn.raw.Read(e.onMore); err != nil {
		return err
	}
	return e.err
}

// nextBlock makes an empty block the one that is read into.
func (e *exchange) nextBlock() (err error) {
	e.start, e.end = 0, 0
	e.block, err = takeBlock()
	return err
}

// line returns the next line of the head without its end, and goes behind it.
func (e *exchange) line() ([]byte, error) {
	for seen := e.start; ; {
		if i := bytes.IndexByte(e.block[seen:e.end], '\n'); i >= 0 {
			line := e.block[e.start : seen+i]
			e.start = seen + i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		seen = e.end
		if e.end == len(e.block) {
			return nil, invalid("its head is larger than %d KiB", limits.MaxResponseHead>>10)
		}
		if err := e.fill(); err != nil && e.end == seen {
			return nil, e.readError(err)
		}
	}
}

// readHead reads the head of the answer, past interim ones (RFC 9110 section
// 15.2).
func (e *exchange) readHead() (head, error) {
	if e.req.Raw {
		return rawHead, nil
	}
	for range 1 + limits.MaxInterimResponses {
		h, err := e.oneHead()
		switch {
		case err != nil:
			return h, err
		case h.status == http.StatusSwitchingProtocols:
			return h, invalid("it switches protocols without being asked")
		case h.status == http.StatusOK:
			return h, h.framed()
		case h.status < 100 || h.status > 199:
			return h, statusError(e.req.Path, h, e.block[e.start:e.end])
		}
	}
	return head{}, invalid("more than %d interim answers", limits.MaxInterimResponses)
}

// tlsAlert begins what TLS says to who speaks HTTP to it (RFC 8446 section 5.1).
var tlsAlert = []byte("\x15\x03")

const speaksTLS = "it speaks TLS, which a Unix socket does not need; let it speak plain HTTP here"

func (e *exchange) oneHead() (head, error) {
	line, err := e.line()
	if bytes.HasPrefix(e.block[:e.end], tlsAlert) {
		return head{}, invalid(speaksTLS)
	}
	if err != nil {
		return head{}, err
	}
	h, err := parseStatusLine(line)
	for err == nil {
		if line, err = e.line(); err == nil {
			if len(line) == 0 {
				return h, nil
			}
			err = h.field(line)
		}
	}
	return h, err
}

// statusError says what h means, and what may help. The body tells it of what it has by
// then: servers of Go and nginx that speak TLS say so in HTTP.
func statusError(path string, h head, body []byte) error {
	advice := "look at the service's own log"
	switch h.status {
	case http.StatusBadRequest:
		if bytes.Contains(body, []byte("HTTPS")) {
			advice = speaksTLS
		}
	case http.StatusNotFound:
		advice = "it serves no " + path + " on this socket; a path of its own is for the targets file (-config.file)"
	case http.StatusUnauthorized, http.StatusForbidden:
		advice = "its metrics want credentials, and Aegis passes none on"
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		advice = fmt.Sprintf("it is a redirect to %q, and Aegis follows none; a path of its own is for the targets file (-config.file)", printable(h.location))
	}
	return fmt.Errorf("%w: GET %s gave %d %s; %s", ErrStatus, path, h.status, http.StatusText(h.status), advice)
}

// finish ends the exchange and its answer. It returns the connection if keep, and
// if that is fit for another request; otherwise it closes it.
func (e *exchange) finish(keep bool) (kept *conn) {
	// Once the watch on the scraper has fired, the connection is spoilt, now or
	// in a moment; and so may be whatever else uses e then.
	inTime := e.release()
	if inTime && keep && !e.spoilt {
		kept = e.conn
	} else {
		e.conn.close()
	}
	e.answer.recycle()
	if inTime {
		e.ctx, e.conn, e.req, e.release = nil, nil, Request{}, nil // They are others'.
		exchanges.Put(e)
	}
	return kept
}
