package scrape

import (
	"fmt"
	"io"
	"strings"
	"time"

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
	length   int64  // of the body; -1 while unknown
	gathered []byte // the whole body, or its beginning
	whole    bool   // the body was read to its end
}

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
	a.gathered = takeBuffer()
	if err := a.gather(); err != nil {
		return err
	}
	if a.ContentEncoding == "" {
		return checkText(a.ContentType, a.gathered)
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
		start, _ := a.e.reader.Peek(min(a.e.reader.Buffered(), cap(a.gathered)))
		a.gathered = append(a.gathered, start...)
		a.e.reader.Discard(len(start))
		return nil
	}
	for len(a.gathered) <= limits.Gather {
		if len(a.gathered) == cap(a.gathered) {
			var err error
			if a.gathered, err = growBuffer(a.gathered); err != nil {
				return err
			}
		}
		room := a.gathered[len(a.gathered):cap(a.gathered)]
		n, err := a.e.resp.Body.Read(room)
		a.gathered = a.gathered[:len(a.gathered)+n]
		if err == io.EOF {
			a.whole, a.length = true, int64(len(a.gathered))
			return nil
		}
		if err != nil {
			return a.e.readError(err)
		}
	}
	return nil
}

// Length returns how many bytes the body has, or -1 where that is not known
// before its end.
func (a *Answer) Length() int64 { return a.length }

// WriteTo writes the body to w, once, and returns how many bytes w took. The
// error wraps ErrCanceled if w failed, else it is the service's failure, and
// what was written is not the whole body.
func (a *Answer) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(a.gathered)
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

// splice copies the n bytes of body that are still on their way. Between a Unix
// and a TCP connection that happens in the kernel, but for what is read already.
func (a *Answer) splice(w io.Writer, n int64) (int64, error) {
	start, _ := a.e.reader.Peek(int(min(n, int64(a.e.reader.Buffered()))))
	written, err := w.Write(start)
	if err != nil {
		return int64(written), scraperError(err)
	}
	a.e.reader.Discard(len(start))
	rest := &io.LimitedReader{R: a.e.conn.UnixConn, N: n - int64(len(start))}
	more, err := io.Copy(w, rest)
	a.e.received += more
	more += int64(written)
	switch {
	case err == nil && rest.N > 0:
		return more, a.e.readError(io.ErrUnexpectedEOF)
	case err == nil:
		return more, nil
	}
	// The error may be of either side. At the deadline the service's side fails
	// at once, the scraper's only when its grace is over; and a service that
	// ends early is no error but an end.
	if deadline, ok := a.e.ctx.Deadline(); ok && a.e.ctx.Err() != nil && time.Since(deadline) < limits.AbortGrace/2 {
		return more, a.e.readError(err)
	}
	return more, scraperError(err)
}

// stream copies the rest of a body whose length is not known.
func (a *Answer) stream(w io.Writer) (written int64, err error) {
	// What is held back no more needs no large buffer.
	giveBuffer(a.gathered)
	a.gathered = takeBuffer()
	buf := a.gathered[:cap(a.gathered)]
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
		giveBuffer(a.gathered)
		a.gathered = nil
	}
}
