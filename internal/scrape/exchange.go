package scrape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// exchange is one request and its answer on one connection.
type exchange struct {
	ctx     context.Context
	conn    *conn
	req     Request
	resp    *http.Response
	reader  *bufio.Reader // of the connection, through Read below
	release func() bool   // ends the watch on ctx; false if that came too late

	received int64
	headLeft int  // how many bytes of head may still be read
	inBody   bool // no bound on what is read
	ended    bool // the service closed the connection
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, limits.Reader) }}

// longAgo is a deadline that ends what waits on a connection.
var longAgo = time.Unix(1, 0)

func newExchange(ctx context.Context, c *conn, req Request) *exchange {
	e := &exchange{ctx: ctx, conn: c, req: req, headLeft: limits.Head}
	e.reader = readers.Get().(*bufio.Reader)
	e.reader.Reset(e)
	e.release = context.AfterFunc(ctx, func() { c.SetDeadline(longAgo) })
	return e
}

// Read reads from the connection, within the bound on the head.
func (e *exchange) Read(p []byte) (int, error) {
	if !e.inBody {
		if e.headLeft == 0 {
			return 0, errHeadTooLarge
		}
		p = p[:min(len(p), e.headLeft)]
	}
	n, err := e.conn.Read(p)
	e.headLeft -= n
	e.received += int64(n)
	e.ended = e.ended || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	return n, err
}

// answer sends the request and returns the answer; without one, the exchange
// is over.
func (e *exchange) answer() (*Answer, error) {
	a, err := e.roundTrip()
	if err != nil {
		e.end(nil)
		return nil, err
	}
	return a, nil
}

func (e *exchange) roundTrip() (*Answer, error) {
	// A failure to write is no reason not to read: a service may answer
	// before it has read the request, and the connection says what is wrong.
	_, writeErr := e.conn.Write(e.req.head)
	if err := e.readHead(); err != nil {
		return nil, err
	}
	if writeErr != nil {
		e.resp.Close = true
	}
	e.inBody = true
	a := &Answer{e: e, length: e.resp.ContentLength}
	if err := a.begin(); err != nil {
		a.recycle()
		return nil, err
	}
	return a, nil
}

// get is what http.ReadResponse needs to know of the request.
var get = &http.Request{Method: http.MethodGet}

// readHead reads the head of the answer, past interim ones (RFC 9110 section
// 15.2).
func (e *exchange) readHead() error {
	for range 1 + limits.Interim {
		resp, err := http.ReadResponse(e.reader, get)
		if err != nil {
			return e.readError(err)
		}
		e.resp = resp
		switch {
		case resp.ProtoMajor != 1:
			return fmt.Errorf("%w: it speaks %s, a scrape HTTP/1.1", ErrInvalid, printable(resp.Proto))
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return fmt.Errorf("%w: it switches protocols without being asked", ErrInvalid)
		case resp.StatusCode == http.StatusOK:
			return nil
		case resp.StatusCode < 100 || resp.StatusCode > 199:
			return statusError(resp)
		}
	}
	return fmt.Errorf("%w: more than %d interim answers", ErrInvalid, limits.Interim)
}

func statusError(resp *http.Response) error {
	advice := "look at the service's own log"
	switch resp.StatusCode {
	case http.StatusNotFound:
		advice = "it serves no /metrics on this socket"
	case http.StatusUnauthorized, http.StatusForbidden:
		advice = "its /metrics wants credentials, and Aegis passes none on"
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		advice = "its /metrics is a redirect, and Aegis follows none"
	}
	return fmt.Errorf("%w: GET /metrics gave %d %s; %s", ErrStatus, resp.StatusCode, http.StatusText(resp.StatusCode), advice)
}

// end gives the connection back to p, or closes it where p is nil, and what
// else the exchange holds.
func (e *exchange) end(p *pool) {
	// Once the watch on the scraper has fired, the connection is spoilt, now
	// or in a moment.
	if !e.release() || p == nil || e.resp.Close || e.reader.Buffered() > 0 {
		e.conn.close()
	} else {
		p.put(e.conn)
	}
	e.reader.Reset(nil)
	readers.Put(e.reader)
	e.reader = nil
}
