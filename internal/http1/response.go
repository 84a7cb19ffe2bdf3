package http1

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// responseWriter is the http.ResponseWriter of one request, and holds that request. It is reused.
type responseWriter struct {
	sender        *sender
	request       http.Request
	requestHeader http.Header
	values        [maxFields]string // of requestHeader

	header   http.Header
	status   int
	deadline time.Time // for writing; zero until it is set or first needed

	head            bytes.Buffer // what comes before the next part of the body: header, framing of chunks
	pending         []byte       // part of the body that waits for more
	parts           [][]byte     // see flush
	lengthKnown     bool         // contentLength was read from the header
	headerSent      bool         // or is in head
	contentLength   int64        // -1 if the response is chunked
	written         int64        // of the body, including what is pending
	spliceRemaining int64        // of the bytes that Expect announced
	closeAfter      bool         // the connection ends with this response
	err             error        // of writing
}

// maxPending is how much of a body waits for more. It turns many small writes into one system call, and gives a
// small response its length.
const maxPending = 2 << 10

var crlf = []byte("\r\n")

var responseWriters = sync.Pool{New: func() any {
	return &responseWriter{requestHeader: make(http.Header), header: make(http.Header)}
}}

// newResponseWriter returns the writer of the response to a request that is made from template.
func newResponseWriter(s *sender, template *http.Request) *responseWriter {
	w := responseWriters.Get().(*responseWriter)
	w.sender, w.request = s, *template
	return w
}

// release makes w available to the next request. The response is over then.
func (w *responseWriter) release() {
	clear(w.requestHeader)
	clear(w.header)
	w.head.Reset()
	*w = responseWriter{
		requestHeader: w.requestHeader, header: w.header, head: w.head, pending: w.pending[:0], parts: w.parts[:0],
	}
	responseWriters.Put(w)
}

// Header returns the header of the response.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader sets the status. Only the first call counts.
func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// SetWriteDeadline sets when the client must have read the response. Without it, that is limits.WriteTimeout
// after the first write that has to wait.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *responseWriter) writeDeadline() time.Time {
	if w.deadline.IsZero() {
		w.deadline = time.Now().Add(limits.WriteTimeout)
	}
	return w.deadline
}

// Write writes p to the body. A small p waits for more, or for the end.
func (w *responseWriter) Write(p []byte) (int, error) {
	n, err := w.WriteAll([][]byte{p})
	return int(n), err
}

// WriteAll writes parts to the body, one after another, with fewer system calls than Write.
func (w *responseWriter) WriteAll(parts [][]byte) (int64, error) {
	n := size(parts)
	if err := w.checkLength(n); err != nil {
		return 0, err
	}
	w.written += n
	if w.written != w.contentLength && n+int64(len(w.pending)) <= maxPending {
		for _, p := range parts {
			w.pending = append(w.pending, p...)
		}
		return n, nil
	}
	// If more follows for certain, the last packet need not be sent yet.
	if err := w.send(parts, w.written < w.contentLength); err != nil {
		return 0, err
	}
	return n, nil
}

func size(parts [][]byte) (n int64) {
	for _, p := range parts {
		n += int64(len(p))
	}
	return n
}

// checkLength returns nil unless writing has failed, Splice has to write what comes next, or n more bytes are
// too many.
func (w *responseWriter) checkLength(n int64) error {
	if !w.lengthKnown {
		w.lengthKnown, w.contentLength = true, -1
		if v := w.header["Content-Length"]; len(v) > 0 {
			w.contentLength, w.err = strconv.ParseInt(v[0], 10, 64)
		}
	}
	switch {
	case w.err != nil:
	case w.spliceRemaining > 0:
		w.err = io.ErrUnexpectedEOF
	case w.contentLength >= 0 && w.written+n > w.contentLength:
		w.err = http.ErrContentLength
	}
	return w.err
}

// Expect announces that Splice will write the next n bytes of the body, at least one. In a chunked response they
// become one chunk.
func (w *responseWriter) Expect(n int64) error {
	if err := w.checkLength(n); err != nil {
		return err
	}
	if len(w.pending) > 0 {
		if err := w.send(nil, true); err != nil {
			return err
		}
	}
	w.startHeader()
	w.startChunk(n)
	w.spliceRemaining = n
	return w.flush(nil, true)
}

// Splice writes n of the bytes that Expect announced from pipe, which has them, in the kernel. It returns how
// many it wrote: n if there is no error.
func (w *responseWriter) Splice(pipe, n int) (int64, error) {
	if w.err == nil && int64(n) > w.spliceRemaining {
		w.err = http.ErrContentLength
	}
	if w.err != nil {
		return 0, w.err
	}
	moved, err := w.sender.splice(pipe, n, w.writeDeadline())
	w.written += int64(moved)
	w.spliceRemaining -= int64(moved)
	w.err = err
	if w.spliceRemaining == 0 {
		w.endChunk()
	}
	return int64(moved), err
}

// finish ends the response. An error means that the client did not get all of it.
func (w *responseWriter) finish() error {
	if err := w.checkLength(0); err != nil {
		return err
	}
	if w.contentLength < 0 && !w.headerSent {
		w.contentLength = w.written
		w.header["Content-Length"] = []string{strconv.FormatInt(w.written, 10)}
	}
	if w.written < w.contentLength {
		return http.ErrContentLength
	}
	w.startHeader()
	if w.contentLength < 0 {
		if len(w.pending) > 0 {
			w.startChunk(int64(len(w.pending)))
			w.pending = append(w.pending, crlf...)
		}
		w.pending = append(w.pending, "0\r\n\r\n"...)
	}
	return w.flush(nil, false)
}

// send sends what is pending and parts, after the header if that has not been sent. In a chunked response they
// become one chunk. more tells that more follows soon.
func (w *responseWriter) send(parts [][]byte, more bool) error {
	w.startHeader()
	w.startChunk(int64(len(w.pending)) + size(parts))
	err := w.flush(parts, more)
	w.endChunk()
	return err
}

// flush sends the head, what is pending, and parts.
func (w *responseWriter) flush(parts [][]byte, more bool) error {
	w.parts = append(append(w.parts[:0], w.head.Bytes(), w.pending), parts...)
	if size(w.parts) > 0 {
		w.err = w.sender.send(w.parts, w.writeDeadline(), more)
	}
	clear(w.parts)
	w.head.Reset()
	w.pending = w.pending[:0]
	return w.err
}

// startChunk writes the size of a chunk to the head if the response is chunked (RFC 9112 section 7.1).
func (w *responseWriter) startChunk(n int64) {
	if w.contentLength < 0 {
		w.head.Write(strconv.AppendInt(w.head.AvailableBuffer(), n, 16))
		w.head.Write(crlf)
	}
}

// endChunk writes the end of a chunk to the head, so that it is sent with what comes next.
func (w *responseWriter) endChunk() {
	if w.contentLength < 0 {
		w.head.Write(crlf)
	}
}

// startHeader writes the response header to the head, once.
func (w *responseWriter) startHeader() {
	if w.headerSent {
		return
	}
	w.headerSent = true
	if w.status == 0 {
		w.status = http.StatusOK
	}
	h := &w.head
	h.WriteString("HTTP/1.1 ")
	h.Write(strconv.AppendInt(h.AvailableBuffer(), int64(w.status), 10))
	h.WriteByte(' ')
	h.WriteString(http.StatusText(w.status))
	h.Write(crlf)
	if w.contentLength < 0 {
		h.WriteString("Transfer-Encoding: chunked\r\n")
	}
	w.closeAfter = len(w.header["Connection"]) > 0
	w.header.WriteSubset(h, nil)
	h.WriteString("Date: ") // RFC 9110 section 6.6.1
	h.Write(time.Now().UTC().AppendFormat(h.AvailableBuffer(), http.TimeFormat))
	h.WriteString("\r\n\r\n")
}
