package target

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Target is a handle for one target, for the time of one request.
type Target struct {
	Name     string
	Settings targetsfile.Target
	set      *Set
	record   *record // nil if the target has none yet
	found    bool    // its socket was found
}

// Request returns the request to the service for a scraper's request.
func (t *Target) Request(from *http.Request) scrape.Request {
	req := scrape.NewRequest(from)
	req.Path, req.Raw = t.Settings.Path, t.Settings.Raw
	if t.Settings.Timeout > 0 {
		req.LimitTimeout(t.Settings.Timeout, "allow more time: raise its timeout in the targets file")
	}
	return req
}

// Scrape scrapes the target for the client that sent from, and passes the response to
// relay, which returns how many bytes of the body it has sent. It records the outcome.
func (t *Target) Scrape(ctx context.Context, from *http.Request, req scrape.Request, relay func(*scrape.Response) (int64, error)) Outcome {
	o := Outcome{At: time.Now(), headOnly: from.Method == http.MethodHead}
	o.Err = t.Authorize(from)
	if o.Err == nil {
		o.Bytes, o.Err = t.admit(ctx, req, relay)
	}
	o.Duration = time.Since(o.At)
	o.Result = ResultOf(o.Err)
	o.Recorded = t.note(o)
	return o
}

// admit waits for a slot, for half of the scrape's time at most: if a host was stopped for
// a moment, all scrapes that were due arrive at once.
func (t *Target) admit(ctx context.Context, req scrape.Request, relay func(*scrape.Response) (int64, error)) (int64, error) {
	s := t.set
	if !s.slots.Acquire(ctx, min(limits.QueueTimeout, req.Timeout/2)) {
		if ctx.Err() != nil {
			return 0, scrape.ErrCanceled
		}
		if count, ok := s.busyLog.Allow(); ok {
			s.log.Warn("too many scrapes at once; refusing some", "limit", limits.MaxScrapes, "count", count)
		}
		return 0, fmt.Errorf("%w: Aegis has %d scrapes in flight", ErrTooMany, limits.MaxScrapes)
	}
	defer s.slots.Release()
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	return t.relay(ctx, req, relay)
}

func (t *Target) relay(ctx context.Context, req scrape.Request, relay func(*scrape.Response) (int64, error)) (int64, error) {
	socket, err := t.lookup(ctx)
	if err != nil {
		return 0, err
	}
	t.found = true
	if t.record == nil {
		t.record = t.set.addRecord(t.Name)
	}
	if t.record != nil { // It is nil beyond limits.MaxTargets.
		if !t.record.slots.TryAcquire() {
			return 0, fmt.Errorf("%w: %d scrapes of it are in flight; the service is slow or hangs, or too many clients scrape it", ErrTooMany, limits.MaxScrapesPerTarget)
		}
		defer t.record.slots.Release()
	}
	response, err := t.set.client.Do(ctx, socket, req)
	if err != nil {
		return 0, err
	}
	defer response.Close()
	return relay(response)
}

func (t *Target) lookup(ctx context.Context) (socketdir.Socket, error) {
	socket, err := t.Lookup(ctx)
	if errors.Is(err, socketdir.ErrTimeout) && errors.Is(ctx.Err(), context.Canceled) {
		err = scrape.ErrCanceled
	}
	return socket, err
}

// Lookup finds the socket of the target. The errors are those of socketdir.Dir.Lookup.
func (t *Target) Lookup(ctx context.Context) (socketdir.Socket, error) {
	switch {
	case t.Name == targetsfile.ReservedName:
		return socketdir.Socket{}, errReservedName
	case t.Settings.Disabled:
		return socketdir.Socket{}, ErrDisabled
	case t.Settings.Socket != "":
		return t.set.dir.LookupPath(ctx, t.Settings.Socket)
	}
	return t.set.dir.Lookup(ctx, t.Name)
}
