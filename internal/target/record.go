package target

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// record is what is remembered about a target that was scraped. Set.mu guards all of it
// but slots.
type record struct {
	name     string
	slots    *limits.Semaphore // of its scrapes in flight
	counters map[Result]prometheus.Counter

	// state is the result of the last scrape that reflects the service; empty before
	// the first, and NotFound while the target is gone.
	state       Result
	gone        bool      // state is NotFound because the socket is gone
	err         error     // why it fails
	since       time.Time // of state, or of failing in one way or another
	last        Outcome
	lastFailure Outcome
	logged      Result // the state that was last logged
	loggedAt    time.Time
	goneSince   time.Time // zero while the socket is there
}

// addRecord returns the record of name, made if necessary, or nil if there are
// limits.MaxTargets others.
func (s *Set) addRecord(name string) *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[name]
	if r == nil && len(s.records) < limits.MaxTargets {
		r = &record{
			name:     strings.Clone(name), // name is part of the whole request.
			slots:    limits.NewSemaphore(limits.MaxScrapesPerTarget),
			counters: make(map[Result]prometheus.Counter),
		}
		s.records[r.name] = r
	}
	return r
}

// note records the outcome of a scrape. It reports whether there is, or was, such a target.
func (t *Target) note(o Outcome) bool {
	s := t.set
	gone := t.isGone(o.Result)
	// In a directory that may be read but not searched, sockets are listed though looking
	// them up is denied.
	found := t.found || t.record == nil && !gone && s.isListed(t.Name)
	if t.record == nil && found {
		t.record = s.addRecord(t.Name)
	}
	switch {
	case t.record == nil && !found:
		s.metrics.unknown.Inc()
		return false
	case t.record == nil:
		s.metrics.scrapes.WithLabelValues(otherTargets, string(o.Result)).Inc()
	default:
		s.mu.Lock()
		t.record.note(s, o, found, gone)
		s.mu.Unlock()
	}
	s.metrics.observe(o)
	return true
}

// note records o; found reports whether the socket is there, gone whether o means that it
// no longer is.
func (r *record) note(s *Set, o Outcome, found, gone bool) {
	if r.counters[o.Result] == nil {
		r.counters[o.Result] = s.metrics.scrapes.WithLabelValues(r.name, string(o.Result))
	}
	r.counters[o.Result].Inc()
	if o.headOnly {
		o.Bytes = r.last.Bytes // The body has that size, though it was not sent.
	}
	if o.Result != Forbidden { // A client that may not see a target cannot change what others see.
		r.last = o
	}
	if found {
		r.goneSince = time.Time{}
	}
	switch {
	case !o.ReflectsService():
	case gone:
		s.markGone(r, o)
	default:
		s.setState(r, o, false)
	}
}

// isGone reports whether result means that the target is no longer there. A target whose
// socket the targets file names is a target even without that socket; then it fails.
func (t *Target) isGone(result Result) bool {
	return result == NotFound && t.Settings.Socket == ""
}

func (s *Set) isListed(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed[name]
}
