package target

import (
	"maps"
	"slices"

	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// warnings is what was logged last about the directory and the targets file, so that it is
// logged once.
type warnings struct {
	directory    error
	reservedName bool
	file         *targetsfile.File // whose targets were compared with the directory
	duplicate    string            // a target with the labels of another
}

// The methods here are called with s.mu held.

// warnDirectory logs when the directory can no longer be read, and when it can again.
func (s *Set) warnDirectory(entries []Entry, err error) {
	before := s.warnings.directory
	s.warnings.directory = err
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		s.log.Warn("cannot read the directory of sockets; scrapes fail until that works", "error", err)
	case err == nil && before != nil:
		s.log.Info("the directory of sockets can be read again", "sockdir", s.dir.String())
	}
	for _, e := range entries {
		if e.Err == errReservedName && !s.warnings.reservedName {
			s.warnings.reservedName = true
			s.log.Warn("not serving a socket: /metrics is Aegis' own page; let its service use another name", "name", e.Name)
		}
	}
}

// warnFile logs what may be a mistake in the targets file: two targets with the same labels,
// and settings that restrict a target that the directory does not have.
func (s *Set) warnFile(file *targetsfile.File, notServed map[string]error) {
	target, other := file.DuplicateLabels(func(name string) bool { return s.listed[name] })
	if other != "" && other != s.warnings.duplicate {
		s.log.Warn("two targets have the same labels, so Prometheus takes them for one; give one of them other labels in the targets file", "target", target, "other", other)
	}
	s.warnings.duplicate = other
	if file == s.warnings.file {
		return
	}
	s.warnings.file = file
	for _, name := range slices.Sorted(maps.Keys(file.Targets)) {
		t := file.Targets[name]
		restricts := t.Socket == "" && (t.Allow != nil || t.Disabled)
		if restricts && !s.listed[name] && notServed[name] == nil {
			s.log.Warn("the targets file restricts a target that is not in the directory (yet); is its name spelled correctly?", "target", name)
		}
	}
}
