package target

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// Result is how a scrape ended. It is the value of the metric label "result".
type Result string

const (
	OK          Result = "ok"
	NotFound    Result = "not_found"
	NotSocket   Result = "not_socket"
	Refused     Result = "refused"
	Denied      Result = "denied"
	NoDirectory Result = "no_directory"
	Busy        Result = "busy"
	Timeout     Result = "timeout"
	Invalid     Result = "invalid"
	Truncated   Result = "truncated"
	Status      Result = "status"
	NotMetrics  Result = "not_metrics"
	// Canceled and Forbidden are the client's doing.
	Canceled  Result = "canceled"
	Forbidden Result = "forbidden"
)

// ErrTooMany is a limit of Aegis' own on scrapes in flight.
var ErrTooMany = errors.New("too many scrapes")

// ErrHTTP10 is the client's failure, not the service's: see web's relay.
var ErrHTTP10 = errors.New("HTTP/1.0 cannot tell a complete body of unknown length from one that was cut short")

// results maps errors to results, in one place.
var results = []struct {
	err    error
	result Result
}{
	{nil, OK},
	{socketdir.ErrNotFound, NotFound},
	{socketdir.ErrNotSocket, NotSocket},
	{socketdir.ErrRefused, Refused},
	{socketdir.ErrDenied, Denied},
	{socketdir.ErrNoDirectory, NoDirectory},
	{socketdir.ErrBusy, Busy},
	{socketdir.ErrTimeout, Timeout},
	{ErrTooMany, Busy},
	{scrape.ErrBusy, Busy},
	{scrape.ErrTimeout, Timeout},
	{scrape.ErrInvalid, Invalid},
	{scrape.ErrTruncated, Truncated},
	{scrape.ErrStatus, Status},
	{scrape.ErrNotMetrics, NotMetrics},
	{scrape.ErrCanceled, Canceled},
	{ErrHTTP10, Canceled},
	{ErrForbidden, Forbidden},
}

// ResultOf returns the result that err stands for: OK for nil, Invalid for an unknown one.
func ResultOf(err error) Result {
	for _, r := range results {
		if errors.Is(err, r.err) {
			return r.result
		}
	}
	return Invalid
}

// Sentinel returns the short error that err wraps, for example socketdir.ErrRefused, or err itself if there
// is none.
func Sentinel(err error) error {
	for _, r := range results {
		if errors.Is(err, r.err) {
			return r.err
		}
	}
	return err
}

// Detail returns what err says besides its sentinel, for lists in which that would stand in every line.
func Detail(err error) string {
	return strings.TrimPrefix(err.Error(), Sentinel(err).Error()+": ")
}

var (
	// ErrDisabled means that the targets file disables the target.
	ErrDisabled     = fmt.Errorf("%w: the targets file disables it (enabled: false)", socketdir.ErrNotFound)
	errReservedName = fmt.Errorf("%w: /metrics is Aegis' own page; let the service use another name for its socket",
		socketdir.ErrNotSocket)
)

// Outcome is how one scrape went.
type Outcome struct {
	At       time.Time // start of the scrape; zero if there was none
	Duration time.Duration
	Bytes    int64 // of the body, as sent to the client
	Result   Result
	Err      error // nil if Result is OK
	headOnly bool  // a HEAD request: no body was sent
}

// ReflectsService reports whether o says something about the service, and not only about the clients.
func (o Outcome) ReflectsService() bool {
	return o.Result != Canceled && o.Result != Forbidden &&
		!errors.Is(o.Err, ErrTooMany) && !errors.Is(o.Err, scrape.ErrBusy)
}
