package scrape

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// ended returns an error if nothing but the end of the connection ends the body (RFC
// 9112 section 6.3, rule 8), and that came before the body's own end. What shows its
// end in itself has to be gathered for that. Text shows only that it broke off within
// a line.
func (a *Response) ended() error {
	switch {
	case !a.framing.untilEOF():
		return nil
	case a.isText():
		if a.framing.done {
			return a.endOfText()
		}
		return nil
	case !a.framing.done:
		return invalid("its body is %s of more than %d KiB, and nothing but the end of the connection ends it; have the service send a length, or chunks", a.form(), limits.MaxBufferedBody>>10)
	}
	defer looking.Add(-1)
	if looking.Add(1) > limits.MaxEOFChecks {
		return fmt.Errorf("%w: %d answers without a length are looked through already", ErrTooMany, limits.MaxEOFChecks)
	}
	body := bytes.NewReader(bytes.Join(a.gathered, nil))
	switch a.form() {
	case "gzip":
		return a.endOfGzip(body)
	case protobufType:
		return a.endOfMessages(body)
	}
	return invalid("its body is %s, and nothing but the end of the connection ends it; have the service send a length, or chunks", a.form())
}

// looking counts the bodies that are looked through.
var looking atomic.Int32

func (a *Response) isText() bool {
	return a.ContentEncoding == "" && mediaType(a.ContentType) != protobufType
}

// form says as what the body came.
func (a *Response) form() string {
	if a.ContentEncoding != "" {
		return a.ContentEncoding
	}
	return mediaType(a.ContentType)
}

func (a *Response) brokeOff(where string) error {
	return fmt.Errorf("%w: the service closed the connection after %d bytes, %s; its log may say why", ErrTruncated, a.e.received, where)
}

// endOfText returns an error unless the body ends as text does: each line with a line
// feed, and OpenMetrics with a line that says so.
func (a *Response) endOfText() error {
	switch {
	case a.size == 0:
		return a.brokeOff("before its body")
	case mediaType(a.ContentType) == openMetricsType:
		if !bytes.HasSuffix(bytes.TrimSuffix(a.tail, []byte("\n")), []byte("# EOF")) {
			return a.brokeOff("before # EOF")
		}
	case a.tail[len(a.tail)-1] != '\n':
		return a.brokeOff("in the middle of a line")
	}
	return nil
}

// endOfMessages returns an error unless the body is messages, each with its length
// before it, to its last byte.
func (a *Response) endOfMessages(body *bytes.Reader) error {
	if a.size == 0 {
		return a.brokeOff("before its body")
	}
	for body.Len() > 0 {
		n, err := binary.ReadUvarint(body)
		if err != nil || n > uint64(body.Len()) {
			return a.brokeOff("in the middle of a message")
		}
		body.Seek(int64(n), io.SeekCurrent)
	}
	return nil
}

// endOfGzip returns an error unless the body is gzip to its last byte.
func (a *Response) endOfGzip(body *bytes.Reader) error {
	unpacked, err := gzip.NewReader(body)
	var n int64
	if err == nil {
		n, err = io.Copy(yielding{}, io.LimitReader(unpacked, limits.MaxDecompressed))
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return a.brokeOff("in the middle of what it gzipped")
	case err != nil:
		return invalid("its gzipped body cannot be unpacked (%v)", err)
	case n == limits.MaxDecompressed:
		return invalid("its gzipped body is more than %d MiB, and nothing but the end of the connection ends it; have the service send a length, or chunks", limits.MaxDecompressed>>20)
	}
	return nil
}

// yielding drops what is written to it, and lets others have their turn at each piece.
type yielding struct{}

func (yielding) Write(p []byte) (int, error) {
	runtime.Gosched()
	return len(p), nil
}

// tailed is how many bytes of the end of a body are remembered.
const tailed = len("# EOF\n")

// remember keeps the end of what has come, b being the last of it.
func (a *Response) remember(b []byte) {
	a.tail = append(a.tail, b[max(0, len(b)-tailed):]...)
	a.tail = append(a.tail[:0], a.tail[max(0, len(a.tail)-tailed):]...)
}
