package scrape

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/sockdir"
)

// Answer is a service's answer to a scrape: an exposition with status 200,
// whole or, where it is larger than limits.Gather, so far without fault.
type Answer struct {
	// ContentType and ContentEncoding are the service's, byte for byte; where
	// it sends no type, DefaultContentType.
	ContentType     string
	ContentEncoding string

	e        *exchange
	pool     *pool
	admitted sockdir.ID
	length   int64   // of the body; -1 while unknown
	gathered *[]byte // the whole body, or its beginning
	whole    bool    // the body was read to its end
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// begin checks the head and gathers what is to be gathered of the body.
func (a *Answer) begin() error {
	header := a.e.resp.Header
	a.ContentType = header.Get("Content-Type")
	a.ContentEncoding = strings.Join(header.Values("Content-Encoding"), ", ")
	if a.ContentType == "" {
		a.ContentType = DefaultContentType
	}
	if err := checkType(a.ContentType, a.ContentEncoding); err != nil {
		return err
	}
	a.gathered = buffers.Get().(*[]byte)
	if err := a.gather(); err != nil {
		return err
	}
	if a.ContentEncoding == "" {
		return checkText(a.ContentType, *a.gathered)
	}
	return nil
}

// gather reads the body up to limits.Gather. Of one known to be larger it takes
// only what has come with the head, to look at.
func (a *Answer) gather() error {
	if a.length > limits.Gather {
		if _, err := a.e.reader.Peek(1); err != nil {
			return a.e.readError(err)
		}
		start, _ := a.e.reader.Peek(a.e.reader.Buffered())
		*a.gathered = append((*a.gathered)[:0], start...)
		a.e.reader.Discard(len(start))
		return nil
	}
	body := (*a.gathered)[:0]
	defer func() { *a.gathered = body }()
	for len(body) <= limits.Gather {
		if len(body) == cap(body) {
			body = grow(body)
		}
		n, err := a.e.resp.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			a.whole, a.length = true, int64(len(body))
			return nil
		}
		if err != nil {
			return a.e.readError(err)
		}
	}
	return nil
}

// grow makes room behind body in proportion to what has come already, not to
// what was announced: announcing costs a service nothing.
func grow(body []byte) []byte {
	const least, most = 8 << 10, limits.Gather + 512
	larger := make([]byte, len(body), min(max(2*cap(body), least), most))
	copy(larger, body)
	return larger
}

// Length returns how many bytes the body has, or -1 where that is not known
// before its end.
func (a *Answer) Length() int64 { return a.length }

// WriteTo writes the body to w, once, and returns how many bytes w took. The
// error wraps ErrCanceled if w failed, else it is the service's failure, and
// what was written is not the whole body.
func (a *Answer) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(*a.gathered)
	written := int64(n)
	if err != nil {
		return written, scraperError(err)
	}
	if a.whole {
		return written, nil
	}
	var more int64
	if a.length >= 0 {
		more, err = a.splice(w, a.length-written)
	} else {
		more, err = a.stream(w)
	}
	a.whole = err == nil
	return written + more, err
}

// splice copies the n bytes of body that are still in the connection. Between
// a Unix and a TCP connection that happens in the kernel.
func (a *Answer) splice(w io.Writer, n int64) (int64, error) {
	rest := &io.LimitedReader{R: a.e.conn.UnixConn, N: n}
	written, err := io.Copy(w, rest)
	a.e.received += written
	switch {
	case err == nil && written < n:
		return written, a.e.readError(io.ErrUnexpectedEOF)
	case err == nil:
		return written, nil
	}
	// The error may be of either side. Where the service has more to say, it
	// is not the service that failed.
	switch p := a.e.conn.pending(); {
	case p == unread, errors.Is(err, syscall.EPIPE), p == silent && errors.Is(err, syscall.ECONNRESET):
		return written, scraperError(err)
	}
	if errors.Is(err, syscall.ECONNRESET) {
		err = io.ErrUnexpectedEOF
	}
	return written, a.e.readError(err)
}

// stream copies the rest of a body whose length is not known.
func (a *Answer) stream(w io.Writer) (written int64, err error) {
	buf := (*a.gathered)[:cap(*a.gathered)]
	buf = buf[:min(len(buf), 64<<10)]
	for {
		n, readErr := a.e.resp.Body.Read(buf)
		if n > 0 {
			n, err := w.Write(buf[:n])
			written += int64(n)
			if err != nil {
				return written, scraperError(err)
			}
		}
		if readErr == io.EOF {
			return written, nil
		}
		if readErr != nil {
			return written, a.e.readError(readErr)
		}
	}
}

func scraperError(err error) error { return fmt.Errorf("%w: %w", ErrCanceled, err) }

// Close ends the scrape. The connection is kept for another if the body was
// read to its end.
func (a *Answer) Close() {
	if a.whole {
		a.e.end(a.pool)
	} else {
		a.e.end(nil)
	}
	a.recycle()
	a.pool.leave(a.admitted)
}

func (a *Answer) recycle() {
	if a.gathered != nil {
		buffers.Put(a.gathered)
		a.gathered = nil
	}
}
