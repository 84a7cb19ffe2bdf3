package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Entry is a target, or an entry of the directories that is not served. Its File is an absolute path unless it is
// in the directory of sockets.
type Entry struct {
	socketdir.Entry
	Settings   *targetsfile.Target // not nil, and not to be changed: many entries share it
	OnlyInFile bool                // the directories have no such target
}

// VisibleTo returns the part of List that the client that sent r may see.
func (s *Set) VisibleTo(r *http.Request) ([]Entry, error) {
	entries, err := s.List(r.Context())
	return slices.DeleteFunc(entries, func(e Entry) bool { return !allows(e.Settings.Allow, r) }), err
}

// List returns all targets and what is not served in the directories, sorted by name. It takes limits.ListTimeout
// at most. The errors are those of socketdir.Dir.List.
func (s *Set) List(ctx context.Context) ([]Entry, error) {
	file := s.file.Load()
	ctx, cancel := context.WithTimeout(ctx, limits.ListTimeout)
	defer cancel()
	found, err := s.listDirectories(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(found)+len(file.Targets))
	served := make(map[string]bool) // of those in the file
	for _, e := range found {
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
		if e.Err == nil && settings != &targetsfile.Default {
			served[e.Name] = true
		}
		entries = append(entries, Entry{Entry: e, Settings: settings})
	}
	for name, settings := range file.Targets {
		if !settings.Disabled && !served[name] {
			socket := cmp.Or(settings.Socket, name+socketdir.Suffix)
			entries = append(entries, Entry{socketdir.Entry{File: socket, Name: name}, &settings, true})
		}
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (s *Set) hasVarlink() bool { return s.varlink.String() != "" }

// Directories returns the paths of all directories of sockets, for people.
func (s *Set) Directories() string {
	if s.hasVarlink() {
		return fmt.Sprintf("%s and %s", s.dir, s.varlink)
	}
	return s.dir.String()
}

// listDirectories returns the entries of both directories. The directory of sockets wins if both have a name.
func (s *Set) listDirectories(ctx context.Context) ([]socketdir.Entry, error) {
	entries, err := s.dir.List(ctx)
	if s.varlinkAlone && errors.Is(err, socketdir.ErrNoDirectory) {
		err = nil
	}
	if err != nil || !s.hasVarlink() {
		return entries, err
	}
	inDir := make(map[string]bool, len(entries))
	for _, e := range entries {
		inDir[e.Name] = true
	}
	varlink, err := s.varlink.List(ctx)
	if errors.Is(err, socketdir.ErrNoDirectory) { // before systemd 260
		return entries, nil
	}
	for _, e := range varlink {
		if e.Err == nil && inDir[e.Name] {
			e.Err = fmt.Errorf("%w: %s has an entry of that name too, and that one counts (-sockdir wins)",
				socketdir.ErrNotSocket, s.dir)
		}
		e.File = s.varlink.String() + "/" + e.File
		entries = append(entries, e)
	}
	return entries, err
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
