package http1

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// exchange is one request and its answer, an http.ResponseWriter. They are used
// again.
type exchange struct {
	c      *conn
	fields http.Header // of the request
	values [fields]string

	header   http.Header // of the answer
	status   int
	deadline time.Time // for writing; zero until it is set

	head      bytes.Buffer // what goes before the next of the body
	small     []byte       // of the body, waits for more
	announced bool         // length is known
	begun     bool         // the head was made
	finished  bool         // no more is written
	length    int64        // of the body; -1 where chunks say where it ends
	written   int64        // of the body
	expected  int64        // of that, by Splice
	closes    bool         // the connection ends with this answer
	err       error        // of writing
	parts     [rawsys.Parts][]byte
}

// smallest is how much of a body waits for more: that makes one system call of
// many, and gives a length to what is all.
const smallest = 2 << 10

var exchanges = sync.Pool{New: func() any {
	return &exchange{fields: make(http.Header), header: make(http.Header)}
}}

// take makes e that of the request on c that head is. It reports false if it is
// for net/http.
func (e *exchange) take(c *conn, head []byte) bool {
	c.request, c.request.URL = *c.blank, &c.url
	if !parse(string(head), &c.request, e.fields, &e.values) {
		clear(e.fields)
		return false
	}
	e.c = c
	return true
}

func (e *exchange) reset() {
	clear(e.fields)
	clear(e.header)
	e.c.request = http.Request{}
	e.head.Reset()
	*e = exchange{fields: e.fields, header: e.header, head: e.head, small: e.small[:0]}
}

// Header returns the header of the answer.
func (e *exchange) Header() http.Header { return e.header }

// WriteHeader sets the status, once.
func (e *exchange) WriteHeader(status int) {
	if e.status == 0 {
		e.status = status
	}
}

// SetWriteDeadline sets by when the scraper must have taken the answer;
// limits.WriteTimeout from where it first makes wait otherwise.
func (e *exchange) SetWriteDeadline(t time.Time) error {
	e.deadline = t
	return nil
}

// Write writes p of the body. What is small waits for more, or for the end.
func (e *exchange) Write(p []byte) (int, error) {
	n, err := e.write([][]byte{p})
	return int(n), err
}

// WriteAll writes parts of the body, one after the other, with fewer system calls
// than Write.
func (e *exchange) WriteAll(parts [][]byte) (written int64, err error) {
	for some := range slices.Chunk(parts, rawsys.Parts-others) {
		n, err := e.write(some)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (e *exchange) write(parts [][]byte) (int64, error) {
	if err := e.ready(); err != nil {
		return 0, err
	}
	n := size(parts)
	waits := n + int64(len(e.small))
	now := e.written + waits
	if now > e.length && e.length >= 0 {
		e.err = http.ErrContentLength
		return 0, e.err
	}
	if now != e.length && waits <= smallest {
		for _, p := range parts {
			e.small = append(e.small, p...)
		}
		return n, nil
	}
	next := unknown
	if now < e.length {
		next = soon // The head and what waits fill a packet and a bit.
	}
	if err := e.send(parts, next); err != nil {
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

// ready reports whether what comes next can be anything but what Splice writes.
func (e *exchange) ready() error {
	e.announce()
	if e.err == nil && e.expected > 0 {
		e.err = io.ErrUnexpectedEOF
	}
	return e.err
}

// announce notes the length that the header has, if it has one.
func (e *exchange) announce() {
	if e.announced {
		return
	}
	e.announced, e.length = true, -1
	if v := e.header["Content-Length"]; len(v) > 0 {
		e.length, e.err = strconv.ParseInt(v[0], 10, 64)
	}
}

var (
	crlf         = []byte("\r\n")
	lastChunk    = []byte("0\r\n\r\n")
	endLastChunk = []byte("\r\n0\r\n\r\n")
)

// send sends what waits and parts, in the framing that the head announces, after
// the head if that is not sent yet.
func (e *exchange) send(parts [][]byte, next next) error {
	if !e.begun {
		e.begin()
	}
	n := size(parts) + int64(len(e.small))
	var end []byte
	if e.length < 0 && n > 0 {
		e.chunk(n)
		if end = crlf; e.finished {
			end = endLastChunk
		}
	} else if e.length < 0 && e.finished {
		end = lastChunk
	}
	e.written += n
	return e.flush(parts, end, next)
}

// chunk begins a chunk of n bytes.
func (e *exchange) chunk(n int64) {
	e.head.Write(strconv.AppendInt(e.head.AvailableBuffer(), n, 16))
	e.head.Write(crlf)
}

// others is how many parts flush adds to the body's.
const others = 3

// flush sends the head, what waits, parts and end.
func (e *exchange) flush(parts [][]byte, end []byte, next next) error {
	all := append(e.parts[:0], e.head.Bytes(), e.small)
	all = append(append(all, parts...), end)
	e.err = e.c.send(all, e.writeDeadline(), next)
	clear(all)
	e.head.Reset()
	e.small = e.small[:0]
	return e.err
}

func (e *exchange) writeDeadline() time.Time {
	if e.deadline.IsZero() {
		e.deadline = time.Now().Add(limits.WriteTimeout)
	}
	return e.deadline
}

// Expect announces that the next n bytes of the body come from a pipe, by Splice: as
// one chunk where the length of the body is not known.
func (e *exchange) Expect(n int64) error {
	if err := e.ready(); err != nil {
		return err
	}
	if e.length >= 0 && e.written+int64(len(e.small))+n > e.length {
		e.err = http.ErrContentLength
		return e.err
	}
	if len(e.small) > 0 {
		if err := e.send(nil, soon); err != nil {
			return err
		}
	}
	if !e.begun {
		e.begin()
	}
	if e.length < 0 {
		e.chunk(n)
	}
	e.expected = n
	if e.head.Len() == 0 {
		return nil
	}
	return e.flush(nil, nil, soon)
}

// Splice writes n of the bytes that are expected from pipe, which holds them, in the
// kernel. It returns how many it wrote: all, if there is no error.
func (e *exchange) Splice(pipe, n int) (int64, error) {
	if e.err == nil && int64(n) > e.expected {
		e.err = http.ErrContentLength
	}
	if e.err != nil {
		return 0, e.err
	}
	written, err := e.c.splice(pipe, n, e.writeDeadline())
	e.written += int64(written)
	e.expected -= int64(written)
	e.err = err
	if e.expected == 0 && e.length < 0 {
		e.head.Write(crlf)
	}
	return int64(written), err
}

// finish ends the answer. An error means that the scraper has not got it whole.
func (e *exchange) finish() error {
	if err := e.ready(); err != nil {
		return err
	}
	if e.length < 0 && !e.begun {
		e.length = int64(len(e.small))
		e.header["Content-Length"] = []string{strconv.Itoa(len(e.small))}
	}
	if e.written+int64(len(e.small)) != e.length && e.length >= 0 {
		return http.ErrContentLength
	}
	e.finished = true
	if !e.begun || e.length < 0 || len(e.small) > 0 {
		return e.send(nil, unknown)
	}
	return nil
}

// begin makes the head.
func (e *exchange) begin() {
	e.begun = true
	if e.status == 0 {
		e.status = http.StatusOK
	}
	h := &e.head
	h.WriteString("HTTP/1.1 ")
	h.Write(strconv.AppendInt(h.AvailableBuffer(), int64(e.status), 10))
	h.WriteByte(' ')
	h.WriteString(http.StatusText(e.status))
	h.Write(crlf)
	if e.length < 0 {
		h.WriteString("Transfer-Encoding: chunked\r\n")
	}
	e.closes = len(e.header["Connection"]) > 0
	e.header.WriteSubset(h, nil)
	h.WriteString(date())
	h.Write(crlf)
}

// dated is the Date field of one second.
type dated struct {
	second int64
	field  string
}

var lastDate atomic.Pointer[dated]

// date returns the Date field of now.
func date() string {
	now := time.Now()
	if last := lastDate.Load(); last != nil && last.second == now.Unix() {
		return last.field
	}
	d := &dated{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
	lastDate.Store(d)
	return d.field
}
