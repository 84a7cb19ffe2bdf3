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

// Reasons why a scrape fails. Each error of this package wraps one of these or one of
// package socketdir, in a sentence that says what happened and what to do.
var (
	// ErrBusy means that Aegis is at one of its limits. The service has not failed.
	ErrBusy       = errors.New("busy")
	ErrTimeout    = errors.New("no complete response in time")
	ErrInvalid    = errors.New("not a valid response")
	ErrTruncated  = errors.New("response cut short")
	ErrStatus     = errors.New("the service returned an error")
	ErrNotMetrics = errors.New("not metrics")
	// ErrCanceled means that the scraper disconnected, or did not read the response in
	// time. The service has not failed.
	ErrCanceled = errors.New("the scraper disconnected")
)

// errNoResponse is the detail of an ErrTruncated if the connection ended before the first
// byte of a response.
var errNoResponse = errors.New("the service closed the connection without a response; check its log, whether it is " +
	"at a limit of connections, and if it forwards them, whether the program behind it listens; a server that requires " +
	"TLS, the PROXY protocol, FastCGI, uwsgi, HTTP/2, Redis or PostgreSQL ends like this too")

// readError turns err, of reading the response, into one of the errors above.
func (rt *roundTrip) readError(err error) error {
	switch {
	case errors.Is(rt.ctx.Err(), context.Canceled):
		return ErrCanceled
	case rt.ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return rt.timeoutError()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		switch {
		case rt.received == 0 && rt.req.Protocol != HTTP:
			return rt.truncatedError("before its metrics")
		case rt.received == 0:
			return fmt.Errorf("%w: %w%s", ErrTruncated, errNoResponse, rt.req.hostAdvice())
		}
		return rt.truncatedError("before the end of its response")
	case errors.Is(err, ErrBusy):
		return err
	default:
		return invalidf("%v", err)
	}
}

// invalidf returns an ErrInvalid that says what is wrong with the response.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, printable(fmt.Sprintf(format, args...)))
}

// truncatedError returns an ErrTruncated; where says at which point the response ended.
func (rt *roundTrip) truncatedError(where string) error {
	return fmt.Errorf("%w: the service closed the connection after %d bytes, %s; check its log",
		ErrTruncated, rt.received, where)
}

// timeoutError returns an ErrTimeout that says what was received and what may help.
func (rt *roundTrip) timeoutError() error {
	received := fmt.Sprintf("%d bytes, including the head,", rt.received)
	advice := "if the service is slow rather than stuck, " + rt.req.timeoutAdvice
	if rt.received == 0 {
		received = "nothing"
		switch rt.req.Protocol {
		case HTTP:
			advice += "; a Varlink service waits for Varlink: set protocol: varlink in the targets file"
		case Raw:
			advice = "if the service waits for an HTTP request, remove protocol: raw from the targets file"
		}
	}
	return fmt.Errorf("%w: received %s in %v; %s", ErrTimeout, received, rt.req.Timeout, advice)
}

// printable returns s, which may contain what a service sent, as one short line.
func printable(s string) string {
	const maxLength = 256 // bytes
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s[:min(len(s), maxLength)])
}
