package target

import (
	"context"
	"fmt"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// Reconcile compares the records with the targets that there are now: it marks those that
// are gone, and forgets those that have been gone for limits.ForgetTimeout. It returns all
// entries, as List does.
func (s *Set) Reconcile(ctx context.Context) ([]Entry, error) {
	file := s.file.Load()
	entries, err := s.list(ctx, *file)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnDirectory(entries, err)
	if err != nil {
		return nil, err
	}
	s.listed = make(map[string]bool, len(entries))
	notServed := make(map[string]error)
	for _, e := range entries {
		if e.Err == nil {
			s.listed[e.Name] = true
		} else {
			notServed[e.Name] = e.Err
		}
	}
	s.warnFile(file, notServed)
	now := time.Now()
	for name, r := range s.records {
		switch reason := notServed[name]; {
		case s.listed[name]:
			s.markPresent(r, now)
		case reason != nil:
			s.markGone(r, Outcome{At: now, Result: ResultOf(reason), Err: reason})
		default:
			s.markGone(r, Outcome{At: now, Result: NotFound, Err: socketdir.ErrNotFound})
		}
		if !r.goneSince.IsZero() && now.Sub(r.goneSince) >= limits.ForgetTimeout {
			s.forget(r)
		}
	}
	return entries, nil
}

// forget drops a record and its series.
func (s *Set) forget(r *record) {
	delete(s.records, r.name)
	for result := range r.counters {
		s.metrics.scrapes.DeleteLabelValues(r.name, string(result))
	}
}

// Reload closes the idle connections to sockets that are no longer a target's. If the
// directory cannot be read before ctx ends, it changes nothing and returns the error.
func (s *Set) Reload(ctx context.Context) error {
	entries, err := s.Reconcile(ctx)
	if err != nil {
		return err
	}
	present := make(map[socketdir.ID]bool, len(entries))
	for _, e := range entries {
		target := Target{Name: e.Name, Settings: e.Settings, set: s}
		if socket, err := target.Lookup(ctx); err == nil {
			present[socket.ID] = true
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %s", socketdir.ErrTimeout, s.dir)
	}
	s.client.Retain(present)
	s.notify()
	return nil
}
