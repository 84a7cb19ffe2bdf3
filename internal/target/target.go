package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
	inFile   bool // the targets file has it
	set      *Set
	record   *record // nil if the target has none yet
	found    bool    // its socket was found
}

// Request returns the request to the service for a scraper's request.
func (t *Target) Request(from *http.Request) scrape.Request {
	req := scrape.NewRequest(from)
	req.Protocol, req.Path, req.Params = t.Settings.Protocol, t.Settings.Path, t.Settings.Params
	req.Host, req.ContentType = cmp.Or(t.Settings.Host, req.Host), t.Settings.ContentType
	if t.Settings.Timeout > 0 {
		req.LimitTimeout(t.Settings.Timeout, "allow more time: raise its timeout in the targets file")
	}
	return req
}

// Relay sends a response to the client, and returns how many bytes of the body it has sent.
type Relay func(response *scrape.Response) (sent int64, err error)

// Scrape scrapes the target for the client that sent from, and passes the response to relay. It records the
// outcome.
func (t *Target) Scrape(ctx context.Context, from *http.Request, req scrape.Request, relay Relay) Outcome {
	o := Outcome{At: time.Now(), headOnly: from.Method == http.MethodHead}
	o.Err = t.Authorize(from)
	if o.Err == nil {
		o.Bytes, o.Err = t.admit(ctx, req, relay)
	}
	o.Duration = time.Since(o.At)
	o.Result = ResultOf(o.Err)
	t.note(o)
	return o
}

// admit waits for a slot, for half of the scrape's time at most: if a host was stopped for a moment, all
// scrapes that were due arrive at once.
func (t *Target) admit(ctx context.Context, req scrape.Request, relay Relay) (sent int64, err error) {
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
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	return t.relay(ctx, req, relay)
}

func (t *Target) relay(ctx context.Context, req scrape.Request, relay Relay) (sent int64, err error) {
	socket, err := t.Locate(ctx, &req)
	if err == nil && t.record == nil { // Nothing is recorded about names without a socket.
		_, err = socket.Lookup(ctx)
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return 0, scrape.ErrCanceled
	}
	if err != nil {
		return 0, err
	}
	if t.record == nil {
		t.set.mu.Lock()
		t.record = t.set.addRecord(t.Name)
		t.set.mu.Unlock()
	}
	if slots := t.record.slots; !slots.TryAcquire() {
		owner := "it"
		if t.record == t.set.others {
			owner = "it and other new targets"
		}
		return 0, fmt.Errorf("%w: %d scrapes of %s are in flight; the service is slow or hangs, "+
			"or too many clients scrape it", ErrTooMany, slots.Size(), owner)
	}
	defer t.record.slots.Release()
	response, err := t.set.client.Do(ctx, socket, req)
	t.found = !errors.Is(err, socketdir.ErrNotFound) && !errors.Is(err, socketdir.ErrNotSocket) &&
		!errors.Is(err, socketdir.ErrNoDirectory)
	if err != nil {
		return 0, err
	}
	defer response.Close()
	return relay(response)
}

// Locate returns the socket of the target, which need not exist. If it is in the directory of Varlink sockets, Locate
// sets the protocol of req. The error wraps socketdir.ErrNotFound or socketdir.ErrNotSocket: Aegis serves no target with
// this name.
func (t *Target) Locate(ctx context.Context, req *scrape.Request) (socketdir.Socket, error) {
	if err := notServed(t.Name, t.Settings); err != nil {
		return socketdir.Socket{}, err
	}
	if t.Settings.Socket != "" {
		return t.set.dir.SocketAt(t.Settings.Socket), nil
	}
	socket, err := t.set.dir.Socket(t.Name)
	if err != nil || !t.set.hasVarlink() || exists(ctx, socket) {
		return socket, err
	}
	varlink, err := t.set.varlink.Socket(t.Name)
	if err != nil || !exists(ctx, varlink) {
		return socket, err
	}
	req.Protocol = scrape.Varlink
	return varlink, nil
}

// exists reports whether there is anything at the path of socket, even if that is no socket.
func exists(ctx context.Context, socket socketdir.Socket) bool {
	_, err := socket.Lookup(ctx)
	return !errors.Is(err, socketdir.ErrNotFound) && !errors.Is(err, socketdir.ErrNoDirectory)
}

// Suggest returns what to append to the error for name, which is not a target: what the user may have meant.
// It is empty if there is nothing to suggest.
func Suggest(name string) string {
	const (
		reserved = targetsfile.ReservedName
		suffix   = socketdir.Suffix
		ownPages = "; Aegis' own pages are /, /metrics, /-/sd, /-/healthy and /-/ready"
	)
	first, rest, hasSlash := strings.Cut(name, "/")
	switch {
	case first == reserved && socketdir.ValidName(rest):
		return "; use /" + rest + ", Aegis adds /metrics itself"
	case name == reserved+suffix:
		return "; a socket of that name is not served, since /metrics is Aegis' own page; let its service use another name"
	case strings.HasPrefix(name, "-/") && strings.HasSuffix(name, "/"):
		return "; leave out the slash at the end: /" + strings.TrimRight(name, "/")
	case first == "-" || first == reserved || name == "sd":
		return ownPages
	case hasSlash && socketdir.ValidName(first) && (rest == "" || rest == "metrics"):
		return "; use /" + first + ", Aegis adds /metrics itself"
	case hasSlash:
		return "; a name has no slash: it is the file name of the socket without " + suffix
	case socketdir.ValidName(name) && strings.HasSuffix(name, suffix):
		return "; the name is " + strings.TrimSuffix(name, suffix) + ", without " + suffix
	}
	return ""
}
