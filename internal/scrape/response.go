package scrape

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Response is a service's response with status 200 and a type of metrics. It is complete
// or, if it is larger than limits.MaxBufferedBody, valid so far. The caller must close it.
type Response struct {
	// ContentType and ContentEncoding are the service's, byte for byte. ContentType is
	// DefaultContentType if the service sent none; that of the Request wins.
	ContentType     string
	ContentEncoding string

	rt       *roundTrip // nil if the response is not from HTTP
	body     bodyDecoder
	length   int64  // of the body; -1 if unknown
	size     int64  // of the body as received so far
	tail     []byte // last bytes of a body that ends with the connection
	lastRead time.Time
	complete bool // the body was read to its end

	buffered      [][]byte  // the body, or the part of it that WriteTo writes next
	bufferedArray [2][]byte // is enough for most, and saves an allocation
	full          []*buffer // that buffered is in, in addition to rt.buf
}

// read reads the head and buffers the body, or the beginning of a large one.
func (r *Response) read() error {
	h, err := r.rt.readHead()
	if err != nil {
		return err
	}
	own := cmp.Or(h.contentType, DefaultContentType)
	r.ContentType, r.ContentEncoding = cmp.Or(r.rt.req.ContentType, own), h.contentEncoding
	if !isExposition(r.ContentType) {
		return typeError(own, r.rt.peekBody(h))
	}
	r.rt.noReuse = r.rt.noReuse || h.close
	r.length, r.body = h.length, newBodyDecoder(h)
	if err := r.bufferBody(); err != nil {
		return err
	}
	beginning := r.buffered[0]
	if len(beginning) < sniffLen {
		beginning = bytes.Join(r.buffered, nil)
	}
	beginning = beginning[:min(len(beginning), sniffLen)]
	if !isExposition(own) && !beginsLikeMetrics.Match(decompressed(r.ContentEncoding, beginning)) {
		return fmt.Errorf("%w: Content-Type is %s, and the body does not begin like metrics, although the targets file "+
			"sets content_type", ErrNotMetrics, printable(own))
	}
	if r.ContentEncoding == "" {
		if err := checkText(r.ContentType, beginning, r.rt.req.Protocol == Raw); err != nil {
			return err
		}
	}
	return r.checkComplete()
}

// bufferBody reads the body, up to limits.MaxBufferedBody. If the body is known to be
// larger, by its length or that of a chunk, it reads only what checkText needs.
func (r *Response) bufferBody() error {
	rt := r.rt
	from := rt.start
	r.buffered = r.bufferedArray[:0]
	for {
		if err := r.decode(); err != nil {
			return err
		}
		enough := r.size > limits.MaxBufferedBody ||
			r.size+r.body.knownRemaining() > limits.MaxBufferedBody && r.size >= sniffLen
		if r.body.done() || enough {
			r.buffered = append(r.buffered, rt.buf[from:rt.end])
			return nil
		}
		if rt.end == len(rt.buf) {
			r.buffered = append(r.buffered, rt.buf[from:])
			if err := rt.nextBuffer(); err != nil {
				return err
			}
			from = 0
		}
		if err := r.readMore(); err != nil {
			return err
		}
	}
}

// decode removes the framing from what was read last.
func (r *Response) decode() error {
	rt := r.rt
	n, used, err := r.body.decode(rt.buf[rt.start:rt.end])
	rt.noReuse = rt.noReuse || used < rt.end-rt.start
	rt.start += n
	rt.end = rt.start
	r.size += int64(n)
	if r.body.untilEOF {
		r.appendTail(rt.buf[rt.end-n : rt.end])
	}
	if r.body.done() {
		r.complete, r.length = true, r.size
	}
	return err
}

// readMore waits for more of the body and reads it into the rest of the buffer.
func (r *Response) readMore() error {
	err := r.rt.fill()
	if err == io.EOF && r.body.untilEOF {
		r.body.state = afterBody
		return nil
	}
	if err == nil {
		r.lastRead = time.Now()
		return nil
	}
	err = r.rt.readError(err)
	isOver := time.Since(r.lastRead) > r.rt.req.Timeout/4 // else more would come
	if errors.Is(err, ErrTimeout) && r.body.untilEOF && isOver && r.isText() && r.checkTextEnd() == nil {
		return invalidf("it has sent complete lines, but keeps the connection open, and nothing else ends a response " +
			"without a length; have the service close it or, over HTTP, send Content-Length or chunks")
	}
	return err
}

// WriteTo writes the body to w and returns how many bytes it wrote. It can be called once.
// The error wraps ErrCanceled if w failed; otherwise it is the service's failure. In both
// cases the body was not written completely. If w is a Splicer, WriteTo uses that.
func (r *Response) WriteTo(w io.Writer) (written int64, err error) {
	if written, err = r.writeBuffered(w); err != nil || r.complete {
		return written, err
	}
	r.releaseFull() // From here on, one buffer is enough.
	splicer, _ := w.(Splicer)
	for !r.complete && err == nil {
		var n int64
		limits.Yield() // The service may always have more to send.
		if remaining := r.body.knownRemaining(); splicer != nil && remaining >= limits.BufferSize {
			n, err = r.splice(splicer, min(remaining, 4*limits.PipeSize))
		} else {
			n, err = r.copyNext(w)
		}
		written += n
	}
	if err == nil {
		err = r.checkComplete()
	}
	return written, err
}

// writeBuffered writes what is buffered, and empties buffered.
func (r *Response) writeBuffered(w io.Writer) (written int64, err error) {
	if s, ok := w.(Splicer); ok {
		written, err = s.WriteAll(r.buffered)
	} else {
		written, err = (*net.Buffers)(&r.buffered).WriteTo(w)
	}
	r.buffered = r.bufferedArray[:0]
	return written, writeError(err)
}

// copyNext waits for the next part of the body and copies it to w, along with what arrived
// meanwhile: each write wakes up the scraper, which costs more than a read. It uses a second
// buffer for that, unless other scrapes may need it.
func (r *Response) copyNext(w io.Writer) (written int64, err error) {
	rt := r.rt
	rt.start, rt.end = 0, 0
	if err := r.readMore(); err != nil {
		return 0, err
	}
	bodyErr := r.decodeAndBuffer()
	if bodyErr == nil && !r.complete && buffersInUse.Load() < maxBuffers/2 {
		if bodyErr = rt.nextBuffer(); bodyErr == nil {
			rt.conn.raw.Control(func(fd uintptr) { rt.tryRead(fd) })
			bodyErr = r.decodeAndBuffer()
		}
	}
	if written, err = r.writeBuffered(w); err == nil {
		err = bodyErr
	}
	r.releaseFull()
	return written, err
}

// decodeAndBuffer decodes what is in rt.buf, and makes it part of buffered.
func (r *Response) decodeAndBuffer() error {
	err := r.decode()
	r.buffered = append(r.buffered, r.rt.buf[:r.rt.end])
	return err
}

// writeError wraps an error of the scraper's connection in ErrCanceled.
func writeError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrCanceled, err)
}

// Length returns the length of the body, or -1 if it will not be known before its end.
func (r *Response) Length() int64 { return r.length }

// Close ends the scrape. The connection is kept for another one if the body was read to
// its end. r must not be used any more.
func (r *Response) Close() {
	if r.rt == nil {
		r.releaseFull()
		return
	}
	r.rt.finish(r.complete)
}

// releaseFull gives all buffers back but the one that is read into.
func (r *Response) releaseFull() {
	for _, b := range r.full {
		putBuffer(b)
	}
	r.full = nil
}
