package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// Why a scrape failed. Every error of this package is one of these or one of
// package socketdir's, wrapped in a sentence that says what happened.
var (
	ErrTooMany    = errors.New("too many scrapes")
	ErrTimeout    = errors.New("no whole answer in time")
	ErrInvalid    = errors.New("not a valid HTTP answer")
	ErrTruncated  = errors.New("answer cut short")
	ErrStatus     = errors.New("the service answered with an error")
	ErrNotMetrics = errors.New("not an exposition")
	// ErrCanceled is the scraper's doing, not the service's: it hung up, or
	// did not read its answer in time.
	ErrCanceled = errors.New("the scraper went away")
)

// errUnanswered is the ErrTruncated of a connection that ended without a byte of
// answer.
var errUnanswered = errors.New("the service closed the connection without answering; its log may say why, or it speaks TLS only")

// readError makes err, met while reading the answer, one of the failures above.
func (e *exchange) readError(err error) error {
	switch {
	case errors.Is(e.ctx.Err(), context.Canceled):
		return ErrCanceled
	case e.ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return e.timeoutError()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		if e.received == 0 {
			return fmt.Errorf("%w: %w", ErrTruncated, errUnanswered)
		}
		return fmt.Errorf("%w: the service closed the connection after %d bytes, before the end of its answer; its log may say why", ErrTruncated, e.received)
	case errors.Is(err, ErrTooMany):
		return err
	default:
		return fmt.Errorf("%w: %s", ErrInvalid, printable(err.Error()))
	}
}

// timeoutError says what came until the deadline, and what may help.
func (e *exchange) timeoutError() error {
	came, advice := fmt.Sprintf("%d bytes had come, head included", e.received), "if it is slow and does not hang, "+e.req.longer
	if e.received == 0 {
		came = "nothing had come"
		if e.req.Raw {
			advice = "if it waits for a request, it speaks HTTP, and protocol: raw in the targets file is wrong"
		}
	}
	return fmt.Errorf("%w: after %v %s; %s", ErrTimeout, e.req.Timeout, came, advice)
}

// printable is s, which may hold what a service sent, as one short line.
func printable(s string) string {
	const most = 200
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s[:min(len(s), most)])
}
