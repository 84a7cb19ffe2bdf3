package target

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Reconcile compares the records with the targets that there are now: it marks those that are gone, and
// forgets those that have been gone for limits.ForgetTimeout. The metrics of the directory report what it
// finds. It returns all entries, as List does. If ctx ends first, it changes nothing.
func (s *Set) Reconcile(ctx context.Context) ([]Entry, error) {
	entries, err := s.List(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	listed := make(map[string]bool, len(entries))
	present := make(map[string]bool) // names in the file that a directory has too, served or not
	notServed := make(map[string]error)
	for _, e := range entries {
		if !e.OnlyInFile && e.Settings != &targetsfile.Default {
			present[e.Name] = true
		}
		if e.Err == nil {
			listed[e.Name] = true
		} else {
			notServed[e.Name] = e.Err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnDirectory(err)
	if err != nil {
		s.metrics.directoryUp.Set(0)
		s.metrics.sockets.Reset()
		return nil, err
	}
	s.metrics.directoryUp.Set(1)
	s.metrics.sockets.WithLabelValues().Set(float64(len(listed)))
	s.listed = listed
	s.warnFile(present)
	now := time.Now()
	for name, r := range s.records {
		if listed[name] {
			s.markPresent(r)
			continue
		}
		reason := cmp.Or(notServed[name], socketdir.ErrNotFound)
		s.setState(r, Outcome{At: now, Result: ResultOf(reason), Err: reason}, true)
		if now.Sub(r.goneSince) >= limits.ForgetTimeout {
			s.forget(r)
		}
	}
	return entries, nil
}

// warnings is what was logged last about the directory and the targets file, so that it is logged once.
type warnings struct {
	directory error
	file      *targetsfile.File // whose targets were compared with the directory
	duplicate string            // a target with the labels of another
}

// warnDirectory logs when the directory can no longer be read, and when it can again. The caller holds s.mu.
func (s *Set) warnDirectory(err error) {
	before := s.warnings.directory
	s.warnings.directory = err
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		s.log.Warn("cannot read the directory of sockets; scrapes fail until that works", "error", err)
	case err == nil && before != nil:
		s.log.Info("the directory of sockets can be read again", "sockdir", s.dir.String())
	}
}

// warnFile logs what may be a mistake in the targets file: two targets with the same labels, and settings
// that restrict a target that is not present. The caller holds s.mu.
func (s *Set) warnFile(present map[string]bool) {
	file := s.file.Load()
	target, other := file.DuplicateLabels(func(name string) bool { return s.listed[name] })
	if other != "" && other != s.warnings.duplicate {
		s.log.Warn("two targets have the same labels, so Prometheus takes them for one; "+
			"give one of them other labels in the targets file", "target", target, "other", other)
	}
	s.warnings.duplicate = other
	if file == s.warnings.file {
		return
	}
	s.warnings.file = file
	for _, name := range slices.Sorted(maps.Keys(file.Targets)) {
		t := file.Targets[name]
		restricts := t.Socket == "" && (t.Allow != nil || t.Disabled)
		if restricts && !present[name] {
			s.log.Warn("the targets file restricts a target that is not in the directory (yet); "+
				"is its name spelled correctly?", "target", name)
		}
	}
}
