package target

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// record is what is remembered about a target that was scraped. Set.mu guards all of it but slots.
type record struct {
	name     string
	slots    *limits.Semaphore             // of its scrapes in flight
	counters map[Result]prometheus.Counter // of its scrapes; made when needed

	// result is that of the last scrape that reflects the service; empty before the first.
	result      Result
	err         error     // why it fails
	since       time.Time // when the state became what it is
	last        Outcome
	lastFailure Outcome
	logged      Result // that was last logged
	loggedAt    time.Time
	goneSince   time.Time // zero while the socket is there
	forgotten   bool      // A scrape in flight may still have the record.
}

// addRecord returns the record of name, made if necessary: s.others if there are limits.MaxTargets already.
// The caller holds s.mu.
func (s *Set) addRecord(name string) *record {
	if r := s.records[name]; r != nil {
		return r
	}
	if len(s.records) >= limits.MaxTargets {
		return s.others
	}
	name = strings.Clone(name) // It is part of the whole request.
	r := newRecord(name, limits.MaxScrapesPerTarget)
	s.records[name] = r
	return r
}

func newRecord(name string, slots int) *record {
	return &record{name: name, slots: limits.NewSemaphore(slots), counters: make(map[Result]prometheus.Counter)}
}

// note records the outcome of a scrape, if there is or was such a target.
func (t *Target) note(o Outcome) {
	s := t.set
	s.mu.Lock()
	defer s.mu.Unlock()
	// What the targets file enables is a target even without its socket; then it fails.
	isListed := t.inFile && !t.Settings.Disabled
	isGone := o.Result == NotFound && !isListed
	// In a directory that may be read but not searched, sockets are listed though looking them up is denied.
	found := t.found || isListed || !isGone && s.listed[t.Name]
	if t.record != nil && t.record.forgotten {
		t.record = nil
	}
	if t.record == nil && found {
		t.record = s.addRecord(t.Name)
	}
	if t.record == nil {
		s.metrics.unknown.Inc()
		return
	}
	if t.record != s.others {
		s.update(t.record, o, found, isGone)
	}
	counters := t.record.counters
	if counters[o.Result] == nil {
		counters[o.Result] = s.metrics.scrapes.WithLabelValues(t.record.name, string(o.Result))
	}
	counters[o.Result].Inc()
	if o.Result != Forbidden { // Else the service was not scraped.
		s.metrics.duration.Observe(o.Duration.Seconds())
		s.metrics.bytes.Add(float64(o.Bytes))
	}
}

// The methods below are called with s.mu held.

// update records o; found reports whether the socket is there, isGone whether o means that it no longer is.
func (s *Set) update(r *record, o Outcome, found, isGone bool) {
	if o.headOnly {
		o.Bytes = r.last.Bytes // The body has that size, though it was not sent.
	}
	if o.Result != Forbidden { // A client that may not see a target cannot change what others see.
		r.last = o
	}
	if found {
		r.goneSince = time.Time{}
	}
	if o.ReflectsService() {
		s.setState(r, o, isGone)
	}
}

// setState records the state of r, and whether its socket is gone. It logs the state if that has changed; that
// of a flapping target once limits.StateLogInterval is over.
func (s *Set) setState(r *record, o Outcome, isGone bool) {
	if isGone && r.goneSince.IsZero() {
		r.goneSince = o.At
	}
	if r.result != o.Result {
		s.Notify()
	}
	if stateOf(r.result) != stateOf(o.Result) {
		r.since = o.At
	}
	r.result, r.err = o.Result, o.Err
	if o.Err != nil {
		r.lastFailure = o
	}
	isNews := r.logged != o.Result && (r.logged != "" || o.Err != nil) // not that the first scrape succeeds
	if !isNews || o.At.Sub(r.loggedAt) < limits.StateLogInterval {
		return
	}
	r.logged, r.loggedAt = o.Result, o.At
	switch {
	case o.Err == nil:
		s.log.Info("target is fine", "target", r.name)
	case o.Result == NotFound && isGone:
		s.log.Info("target is gone", "target", r.name)
	default:
		s.log.Warn("target is failing", "target", r.name, "reason", string(o.Result), "error", o.Err)
	}
}

// markPresent records that the socket of r is there. If it was gone, nothing is known about the service that
// listens there now.
func (s *Set) markPresent(r *record) {
	if r.goneSince.IsZero() {
		return
	}
	r.result, r.err, r.last = "", nil, Outcome{}
	r.since, r.goneSince = time.Time{}, time.Time{}
	s.Notify()
}

// forget drops a record and its series.
func (s *Set) forget(r *record) {
	delete(s.records, r.name)
	r.forgotten = true
	for result := range r.counters {
		s.metrics.scrapes.DeleteLabelValues(r.name, string(result))
	}
}
