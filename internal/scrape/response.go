package scrape

import (
	"fmt"
	"io"
	"runtime"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Response is a service's answer to a scrape: an exposition with status 200,
// whole or, where it is larger than limits.MaxBufferedBody, so far without fault. It ends
// with Close.
type Response struct {
	// ContentType and ContentEncoding are the service's, byte for byte; where
	// it sends no type, DefaultContentType.
	ContentType     string
	ContentEncoding string

	e        *exchange
	pool     *pool
	service  *service
	framing  framing
	length   int64    // of the body; -1 while unknown
	size     int64    // of what has come
	tail     []byte   // of that, if nothing but the end of the connection ends it
	gathered [][]byte // the whole body, or its beginning; each but the last of a block in full
	first    [2][]byte
	full     []*block
	whole    bool // the body was read to its end
}

// begin reads the head and gathers what is to be gathered of the body.
func (a *Response) begin() error {
	h, err := a.e.readHead()
	if err != nil {
		return err
	}
	a.ContentType, a.ContentEncoding = h.contentType, h.contentEncoding
	if a.ContentType == "" {
		a.ContentType = DefaultContentType
	}
	if err := checkType(a.ContentType); err != nil {
		return err
	}
	a.e.spoilt = a.e.spoilt || h.close
	a.length, a.framing = h.length, newFraming(h)
	if err := a.gather(); err != nil {
		return err
	}
	if a.ContentEncoding == "" {
		var beginning [lookedAt]byte
		if err := checkText(a.ContentType, beginning[:a.copyTo(beginning[:])], a.e.req.Raw); err != nil {
			return err
		}
	}
	return a.ended()
}

// copyTo copies the beginning of what is gathered to b.
func (a *Response) copyTo(b []byte) (n int) {
	for _, part := range a.gathered {
		n += copy(b[n:], part)
	}
	return n
}

// gather reads the body up to limits.MaxBufferedBody. Of one known to be larger, by its
// length or a chunk's, it takes only what has come by then, and what is to be
// looked at.
func (a *Response) gather() error {
	e := a.e
	from := e.start
	a.gathered = a.first[:0]
	for {
		if err := a.take(); err != nil {
			return err
		}
		enough := a.size > limits.MaxBufferedBody || a.size+a.framing.ahead() > limits.MaxBufferedBody && a.size >= lookedAt
		if a.framing.done || enough {
			a.gathered = append(a.gathered, e.block[from:e.end])
			return nil
		}
		if e.end == len(e.block) {
			a.gathered, a.full = append(a.gathered, e.block[from:]), append(a.full, e.block)
			if err := e.nextBlock(); err != nil {
				return err
			}
			from = 0
		}
		if err := a.more(); err != nil {
			return err
		}
	}
}

// take has the framing look at what has come.
func (a *Response) take() error {
	e := a.e
	n, over, err := a.framing.take(e.block[e.start:e.end])
	e.start += n
	e.end = e.start
	e.spoilt = e.spoilt || over > 0
	a.size += int64(n)
	if a.framing.untilEOF() {
		a.remember(e.block[e.end-n : e.end])
	}
	if a.framing.done {
		a.whole, a.length = true, a.size
	}
	return err
}

// more reads more of the body.
func (a *Response) more() error {
	err := a.e.fill()
	if err == io.EOF && a.framing.untilEOF() {
		a.framing.done = true
		return nil
	}
	if err != nil {
		return a.e.readError(err)
	}
	return nil
}

// Length returns how many bytes the body has, or -1 where that is not known
// before its end.
func (a *Response) Length() int64 { return a.length }

// WriteTo writes the body to w, once, and returns how many bytes w took. The
// error wraps ErrCanceled if w failed, else it is the service's failure, and
// what was written is not the whole body.
func (a *Response) WriteTo(w io.Writer) (written int64, err error) {
	if written, err = a.writeGathered(w); err != nil {
		return written, scraperError(err)
	}
	a.giveFull() // One block is enough now.
	splicer, _ := w.(Splicer)
	for !a.whole && err == nil {
		// On one processor, a service that sends without end would take it from
		// all others.
		runtime.Gosched()
		var n int64
		if ahead := min(a.framing.ahead(), limits.MaxSpliceSize); splicer != nil && ahead >= limits.BufferSize {
			n, err = a.splice(splicer, ahead)
		} else {
			n, err = a.copy(w)
		}
		written += n
	}
	if err == nil {
		err = a.ended()
	}
	return written, err
}

func (a *Response) writeGathered(w io.Writer) (written int64, err error) {
	if all, ok := w.(AllWriter); ok {
		return all.WriteAll(a.gathered)
	}
	for _, part := range a.gathered {
		n, err := w.Write(part)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// AllWriter is a writer that can write several parts with less effort than one by
// one.
type AllWriter interface {
	WriteAll(parts [][]byte) (written int64, err error)
}

// copy copies what comes next, and what has come by then: each write wakes the
// scraper, which costs more than a read.
func (a *Response) copy(w io.Writer) (written int64, err error) {
	a.e.start, a.e.end = 0, 0
	a.gathered = a.first[:0]
	if err := a.more(); err != nil {
		return 0, err
	}
	faulty := a.taken()
	if faulty == nil && !a.whole && a.another() {
		faulty = a.taken()
	}
	written, err = a.writeGathered(w)
	a.giveFull()
	if err != nil {
		return written, scraperError(err)
	}
	return written, faulty
}

// taken takes what is in the block.
func (a *Response) taken() error {
	err := a.take()
	a.gathered = append(a.gathered, a.e.block[:a.e.end])
	return err
}

// another reads what has come into another block, if anything has and there is
// one to spare.
func (a *Response) another() (came bool) {
	e := a.e
	spare := takeSpare()
	if spare == nil {
		return false
	}
	block, end := e.block, e.end
	e.block, e.start, e.end = spare, 0, 0
	e.conn.raw.Control(func(fd uintptr) { came = e.readMore(fd) && e.err == nil })
	if came {
		a.full = append(a.full, block)
	} else {
		e.block, e.start, e.end = block, end, end
		giveBlock(spare)
	}
	return came
}

func scraperError(err error) error { return fmt.Errorf("%w: %w", ErrCanceled, err) }

// Close ends the scrape. The connection is kept for another if the body was
// read to its end.
func (a *Response) Close() {
	pool, service := a.pool, a.service // a is no more when it is finished.
	pool.leave(service, a.e.finish(a.whole))
}

// recycle gives the memory of the answer back.
func (a *Response) recycle() {
	a.gathered = nil
	a.giveFull()
	if a.e.block != nil {
		giveBlock(a.e.block)
		a.e.block = nil
	}
}

func (a *Response) giveFull() {
	for _, b := range a.full {
		giveBlock(b)
	}
	a.full = nil
}
