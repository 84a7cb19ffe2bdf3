package scrape

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// lengthAdvice is the end of each error about a body that has no length.
const lengthAdvice = "so Aegis cannot check that it is complete; " +
	"have the service send Content-Length or chunks"

// checkComplete returns an error if the body ends with the connection (RFC 9112 section
// 6.3, rule 8) and the connection ended too early. The other framings need no check.
//
// What is complete depends on the format. For text, the last bytes show it once all have
// been read. Gzip must be decompressed, so the complete body must be buffered. Nothing shows
// it for other formats.
func (r *Response) checkComplete() error {
	switch {
	case !r.body.untilEOF:
		return nil
	case r.isText():
		if r.body.done() {
			return r.checkTextEnd()
		}
		return nil // WriteTo reads the rest and checks again.
	case !r.body.done():
		return invalidf("its %.40s body has no length and is larger than %d KiB, %s",
			r.format(), limits.MaxBufferedBody>>10, lengthAdvice)
	}
	if r.ContentEncoding != "gzip" {
		return invalidf("its %.40s body has no length, %s", r.format(), lengthAdvice)
	}
	ctx := r.rt.ctx
	deadline, _ := ctx.Deadline()
	switch {
	case limits.Expensive.Acquire(ctx, time.Until(deadline)):
		defer limits.Expensive.Release()
		return r.checkGzipEnd()
	case errors.Is(ctx.Err(), context.Canceled):
		return ErrCanceled
	}
	return fmt.Errorf("%w: no processor time left for a body that has no length, %s", ErrBusy, lengthAdvice)
}

func (r *Response) isText() bool {
	return r.ContentEncoding == "" && mediaType(r.ContentType) != protobufType
}

// format returns the content encoding or, without one, the media type.
func (r *Response) format() string {
	if r.ContentEncoding != "" {
		return r.ContentEncoding
	}
	return mediaType(r.ContentType)
}

// checkTextEnd returns an error unless the body ends in a line feed or, if it is
// OpenMetrics, in "# EOF".
func (r *Response) checkTextEnd() error {
	switch {
	case r.size == 0:
		return r.rt.truncatedError("before its body")
	case mediaType(r.ContentType) == openMetricsType:
		if !bytes.HasSuffix(bytes.TrimSuffix(r.tail, []byte("\n")), []byte("# EOF")) {
			return r.rt.truncatedError("before # EOF")
		}
	case r.tail[len(r.tail)-1] != '\n':
		return r.rt.truncatedError("in the middle of a line")
	}
	return nil
}

// checkGzipEnd returns an error unless the body is complete gzip.
func (r *Response) checkGzipEnd() error {
	decompressed, err := gzip.NewReader(bytes.NewReader(bytes.Join(r.buffered, nil)))
	var n int64
	if err == nil {
		n, err = io.Copy(yieldingDiscard{}, io.LimitReader(decompressed, limits.MaxDecompressed))
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return r.rt.truncatedError("in the middle of its gzip data")
	case err != nil:
		return invalidf("its gzip body cannot be decompressed (%v)", err)
	case n == limits.MaxDecompressed:
		return invalidf("its gzip body has no length and decompresses to more than %d MiB, %s",
			limits.MaxDecompressed>>20, lengthAdvice)
	}
	return nil
}

// yieldingDiscard is io.Discard, but lets others run at each write.
type yieldingDiscard struct{}

func (yieldingDiscard) Write(p []byte) (int, error) {
	limits.Yield()
	return len(p), nil
}

// tailLen is how many bytes at the end of a body checkTextEnd needs.
const tailLen = len("# EOF\n")

// appendTail adds b, the next bytes of the body, to tail.
func (r *Response) appendTail(b []byte) {
	r.tail = append(r.tail, b[max(0, len(b)-tailLen):]...)
	r.tail = append(r.tail[:0], r.tail[max(0, len(r.tail)-tailLen):]...)
}
