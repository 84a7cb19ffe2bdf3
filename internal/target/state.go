package target

import (
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// The methods here are called with s.mu held.

// failing stands for every way to fail: a target that fails now in one way and now in
// another has been failing all the time.
const failing Result = "failing"

// kind returns the state that users see for result: OK, NotFound if the target is gone,
// failing, or empty before the first scrape.
func kind(result Result, gone bool) Result {
	if result == "" || result == OK || gone {
		return result
	}
	return failing
}

// setState records the state of r and logs it if it has changed. The state of a flapping
// target is logged once limits.StateLogInterval is over.
func (s *Set) setState(r *record, o Outcome, gone bool) {
	if r.state != o.Result {
		s.notify()
	}
	before, now := kind(r.state, r.gone), kind(o.Result, gone)
	if before != now {
		r.since = o.At
	}
	r.state, r.err, r.gone = o.Result, o.Err, gone
	if o.Err != nil {
		r.lastFailure = o
	}
	if r.logged == o.Result || o.At.Sub(r.loggedAt) < limits.StateLogInterval {
		return
	}
	r.logged, r.loggedAt = o.Result, o.At
	switch now {
	case OK:
		s.log.Info("target is fine", "target", r.name)
	case NotFound:
		s.log.Info("target is gone", "target", r.name)
	default:
		s.log.Warn("target is failing", "target", r.name, "reason", string(o.Result), "error", o.Err)
	}
}

// markGone records that the socket of r is no longer there.
func (s *Set) markGone(r *record, o Outcome) {
	if r.goneSince.IsZero() {
		r.goneSince = o.At
	}
	s.setState(r, o, o.Result == NotFound)
}

// markPresent records that the socket of r is there. If it was gone, nothing is known about
// the service that listens there now.
func (s *Set) markPresent(r *record, now time.Time) {
	if r.goneSince.IsZero() {
		return
	}
	r.goneSince, r.state, r.gone, r.err, r.since, r.last = time.Time{}, "", false, nil, now, Outcome{}
	s.notify()
}
