package target

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Entry is a target, or an entry of the directory that is not served. Its File is an absolute path if the
// targets file names its socket.
type Entry struct {
	socketdir.Entry
	Settings *targetsfile.Target // not nil, and not to be changed: many entries share it
}

// VisibleTo returns the part of List that the client that sent r may see.
func (s *Set) VisibleTo(r *http.Request) ([]Entry, error) {
	entries, err := s.List(r.Context())
	return slices.DeleteFunc(entries, func(e Entry) bool { return !allows(e.Settings.Allow, r) }), err
}

// List returns all targets and what is not served in the directory, sorted by name. It takes limits.ListTimeout
// at most. The errors are those of socketdir.Dir.List.
func (s *Set) List(ctx context.Context) ([]Entry, error) {
	file := s.file.Load()
	ctx, cancel := context.WithTimeout(ctx, limits.ListTimeout)
	defer cancel()
	inDir, err := s.dir.List(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(inDir)+len(file.Targets))
	for _, e := range inDir {
		settings := &targetsfile.Default
		if t, ok := file.Targets[e.Name]; ok {
			settings = &t
		}
		if e.Err == nil {
			e.Err = notServed(e.Name, *settings)
		}
		if e.Err == nil && settings.Socket != "" {
			e.Err = fmt.Errorf("%w: the targets file names another socket for %s, %s",
				socketdir.ErrNotSocket, e.Name, settings.Socket)
		}
		entries = append(entries, Entry{e, settings})
	}
	for name, settings := range file.Targets {
		if settings.Socket != "" && !settings.Disabled {
			entries = append(entries, Entry{socketdir.Entry{File: settings.Socket, Name: name}, &settings})
		}
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// notServed returns why no target has that name and those settings, or nil.
func notServed(name string, settings targetsfile.Target) error {
	switch {
	case name == targetsfile.ReservedName:
		return errReservedName
	case settings.Disabled:
		return ErrDisabled
	}
	return nil
}
