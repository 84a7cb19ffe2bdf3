package web

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// outcome is how one scrape went.
type outcome struct {
	at     time.Time
	took   time.Duration
	bytes  int64
	result string
	err    error // nil for resultOK

	head    bool // asked with HEAD
	counted bool
	series  int // if counted; uncounted if that cannot be
}

// tells reports whether o tells of the service, not of the scrapers alone.
func (o outcome) tells() bool {
	return o.result != resultCanceled && o.result != resultForbidden && !errors.Is(o.err, scrape.ErrTooMany)
}

// state is what is known of a target.
type state struct {
	// result is resultOK while it is fine, resultNotFound when it is gone (where
	// isGone says so), otherwise why it fails; empty before the first
	// scrape.
	result string
	err    error
}

// target is a socket that was scraped.
type target struct {
	state        state
	since        time.Time                     // of state
	results      map[string]prometheus.Counter // its series
	last         outcome
	failed       outcome   // the last that failed by its own fault
	series       int       // as last counted
	countedAt    time.Time // zero if never
	countedBytes int64     // of the body then
	logged       string    // the result that was last logged
	loggedAt     time.Time
	goneSince    time.Time // zero while it is there
}

// targets remembers how scrapes went: for the page, the log and the series.
// Only what was a socket when it was scraped is remembered, and not more than
// limits.MaxTargets.
type targets struct {
	catalog *Catalog
	log     *slog.Logger
	scrapes *prometheus.CounterVec // by target and result
	changed chan struct{}          // has an element when a state has changed

	mu             sync.Mutex
	byName         map[string]*target
	read           *targetsfile.File // whose targets were looked for in the folder
	listed         map[string]bool   // sockets seen by the last sweep
	alike          string            // one of those that has the labels of another
	folderErr      error             // as last logged
	reservedLogged bool
}

// overflow stands in the target label for targets beyond limits.MaxTargets. No
// name can be it.
const overflow = "(other)"

func newTargets(c *Catalog, log *slog.Logger, scrapes *prometheus.CounterVec) *targets {
	return &targets{catalog: c, log: log, scrapes: scrapes, changed: make(chan struct{}, 1), byName: make(map[string]*target)}
}

// record notes how a scrape of name went; found says whether name was a socket.
// It reports whether name is, or was, a target.
func (ts *targets) record(name string, found bool, o outcome) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byName[name]
	// A folder that can be read but not searched shows its sockets and denies
	// looking at them.
	gone := ts.isGone(name, o.result)
	found = found || ts.listed[name] && !gone
	switch {
	case t == nil && !found:
		return false
	case t == nil && len(ts.byName) >= limits.MaxTargets:
		ts.scrapes.WithLabelValues(overflow, o.result).Inc()
		return true
	case t == nil:
		name = strings.Clone(name) // It is a part of a whole request.
		t = &target{results: make(map[string]prometheus.Counter)}
		ts.byName[name] = t
	}
	if t.results[o.result] == nil {
		t.results[o.result] = ts.scrapes.WithLabelValues(name, o.result)
	}
	t.results[o.result].Inc()
	if o.head {
		o.bytes = t.last.bytes // The body is as large, if not sent.
	}
	if o.result != resultForbidden { // Who may not see a target is not to change what others see.
		t.last = o
	}
	if o.counted {
		t.series, t.countedAt, t.countedBytes = o.series, o.at, o.bytes
	}
	if found {
		t.goneSince = time.Time{}
	}
	switch {
	case !o.tells():
	case gone:
		ts.gone(name, t, o)
	default:
		ts.change(name, t, o)
	}
	return true
}

// lastCount is when the series of a target were counted, and in how large a body.
type lastCount struct {
	at    time.Time // zero if never
	bytes int64
	never bool // they are not to be
}

// due reports whether series are to be counted anew, in a body of that length; -1 where
// that is not known.
func (c lastCount) due(now time.Time, length int64) bool {
	changed := length >= 0 && max(length-c.bytes, c.bytes-length) > c.bytes/limits.CountedAgain
	return !c.never && (changed || now.Sub(c.at) >= limits.CountInterval)
}

// lastCount returns the last count of the series of name.
func (ts *targets) lastCount(name string) lastCount {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.byName[name]; t != nil {
		return lastCount{at: t.countedAt, bytes: t.countedBytes}
	}
	return lastCount{never: len(ts.byName) >= limits.MaxTargets}
}

// isGone reports whether result means that name is no target any more. What has its
// socket by the targets file is one whether that is there or not: without, it fails.
func (ts *targets) isGone(name, result string) bool {
	return result == resultNotFound && ts.catalog.Target(name).Socket == ""
}

// gone notes that the socket of t is not there any more.
func (ts *targets) gone(name string, t *target, o outcome) {
	if t.goneSince.IsZero() {
		t.goneSince = o.at
	}
	ts.change(name, t, o)
}

// change notes the state of t and logs it where it is news. A target that
// flaps is logged as it is when limits.StateLogInterval is over.
func (ts *targets) change(name string, t *target, o outcome) {
	if t.state.result != o.result {
		ts.announce()
	}
	kind := ts.kindOfState(name, o.result)
	if kind != ts.kindOfState(name, t.state.result) {
		t.since = o.at
	}
	t.state = state{result: o.result, err: o.err}
	if o.err != nil {
		t.failed = o
	}
	if t.logged == o.result || o.at.Sub(t.loggedAt) < limits.StateLogInterval {
		return
	}
	t.logged, t.loggedAt = o.result, o.at
	switch kind {
	case resultOK:
		ts.log.Info("target is fine", "target", name)
	case resultNotFound:
		ts.log.Info("target is gone", "target", name)
	default:
		ts.log.Warn("target is failing", "target", name, "reason", o.result, "error", o.err)
	}
}

// kindOfState is result, or one for all ways of failing: a target that fails now in
// this way and now in that has failed all the while.
func (ts *targets) kindOfState(name, result string) string {
	if result == "" || result == resultOK || ts.isGone(name, result) {
		return result
	}
	return "failing"
}

// announce makes it known that a state may have changed.
func (ts *targets) announce() {
	select {
	case ts.changed <- struct{}{}:
	default: // It is known already.
	}
}

// sweep compares what is remembered with the folder. It returns the folder's
// entries.
func (ts *targets) sweep(ctx context.Context) ([]socketdir.Entry, error) {
	limited, cancel := context.WithTimeout(ctx, limits.ListTimeout)
	defer cancel()
	file := ts.catalog.file.Load()
	entries, err := ts.catalog.List(limited, *file)
	if ctx.Err() != nil {
		return nil, ctx.Err() // Nobody waits for it any more.
	}
	listed := make(map[string]bool, len(entries))
	unserved := make(map[string]error)
	for i, e := range entries {
		giveWay(i)
		if e.Err == nil {
			listed[e.Name] = true
		} else {
			unserved[e.Name] = e.Err
		}
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.logFolder(entries, err)
	if err != nil {
		return nil, err
	}
	ts.listed = listed
	ts.logAlike(file)
	ts.logAbsent(file, func(name string) bool { return listed[name] || unserved[name] != nil })
	now := time.Now()
	for name, t := range ts.byName {
		switch {
		case ts.listed[name]:
			ts.back(t, now)
		case unserved[name] != nil:
			ts.gone(name, t, outcome{at: now, result: Result(unserved[name]), err: unserved[name]})
		default:
			ts.gone(name, t, outcome{at: now, result: resultNotFound, err: socketdir.ErrNotFound})
		}
		if !t.goneSince.IsZero() && now.Sub(t.goneSince) >= limits.ForgetTimeout {
			delete(ts.byName, name)
			for result := range t.results {
				ts.scrapes.DeleteLabelValues(name, result)
			}
		}
	}
	return entries, nil
}

// logAbsent logs once for file of which targets it says who may not see them, and the
// folder has none of that name: the name may be misspelt.
func (ts *targets) logAbsent(file *targetsfile.File, there func(name string) bool) {
	if file == ts.read {
		return
	}
	ts.read = file
	for _, name := range slices.Sorted(maps.Keys(file.Targets)) {
		t := file.Targets[name]
		if t.Socket == "" && (t.Allow != nil || t.Disabled) && !there(name) {
			ts.log.Warn("the targets file keeps a target from scrapers that is not in the folder (yet)", "target", name)
		}
	}
}

// logAlike logs of two targets that Prometheus cannot tell apart, when they are new.
func (ts *targets) logAlike(file *targetsfile.File) {
	target, other := file.DuplicateLabels(func(name string) bool { return ts.listed[name] })
	if other != "" && other != ts.alike {
		ts.log.Warn("two targets have the same labels, and Prometheus takes one for the other; give one other labels in the targets file", "target", target, "other", other)
	}
	ts.alike = other
}

// giveWay lets scrapes have their turn, now and then in a loop of which this is
// step i: in a folder of a hundred thousand entries it is long.
func giveWay(i int) {
	if i%64 == 63 {
		runtime.Gosched()
	}
}

// back notes that the socket of t is there; if it was gone, nothing is known of
// how it is now.
func (ts *targets) back(t *target, now time.Time) {
	if !t.goneSince.IsZero() {
		t.goneSince, t.state, t.since, t.last = time.Time{}, state{}, now, outcome{}
		ts.announce()
	}
}

// logFolder logs a change in whether the folder can be read.
func (ts *targets) logFolder(entries []socketdir.Entry, err error) {
	if err != nil {
		if ts.folderErr == nil || ts.folderErr.Error() != err.Error() {
			ts.log.Warn("the folder of sockets cannot be read; scrapes fail until it can", "error", err)
		}
	} else if ts.folderErr != nil {
		ts.log.Info("the folder of sockets can be read again", "sockdir", ts.catalog.folder.String())
	}
	ts.folderErr = err
	for _, e := range entries {
		if e.Err == errReserved && !ts.reservedLogged {
			ts.reservedLogged = true
			ts.log.Warn("a socket is not served: its name is that of a page of Aegis' own; have its service call it otherwise", "name", e.Name)
		}
	}
}

// known returns what is known of name, which is not to be changed, and whether
// that is anything.
func (ts *targets) known(name string) (*target, bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t, ok := ts.byName[name]
	if !ok {
		return &unknown, false
	}
	copied := *t
	return &copied, true
}

// unknown is what is known of a target that was never scraped.
var unknown target

// count returns how many targets are remembered.
func (ts *targets) count() int {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return len(ts.byName)
}
