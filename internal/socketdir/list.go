package socketdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Entry is a file in the directory that is a socket or has the name of one.
type Entry struct {
	// File is the file name, and Name the same without the suffix. Both are hostile text
	// unless Err is nil.
	File, Name string
	// Err says why Aegis does not serve the entry. It is nil if the entry is a socket with
	// a valid name.
	Err error
}

var errNoSuffix = fmt.Errorf("%w: its file name does not end in %s; let its service listen under a name that does", ErrNotSocket, Suffix)

// List returns the entries of the directory, sorted by file name. It skips files that are
// not sockets unless they have the suffix. The error wraps ErrNoDirectory, ErrDenied,
// ErrBusy or ErrTimeout.
func (d Dir) List(ctx context.Context) ([]Entry, error) {
	return runWithDeadline(ctx, d, d.list, nil)
}

func (d Dir) list() ([]Entry, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, d.listError(err)
	}
	defer f.Close()
	var entries []Entry
	for {
		files, err := f.ReadDir(limits.ReadDirBatchSize)
		for _, file := range files {
			if e, ok := d.entry(file); ok {
				entries = append(entries, e)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, d.listError(err)
		}
	}
	if len(entries) == 0 {
		return nil, checkHidden(d.path)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.File, b.File) })
	return entries, nil
}

// entry returns the Entry of file. It reports false if List skips the file.
func (d Dir) entry(file fs.DirEntry) (Entry, bool) {
	name, hasSuffix := strings.CutSuffix(file.Name(), d.suffix)
	isSocket := file.Type() == fs.ModeSocket
	if (!hasSuffix || name == "" || d.suffix == "") && !isSocket {
		return Entry{}, false
	}
	e := Entry{File: file.Name(), Name: name}
	switch {
	case !hasSuffix:
		e.Err = errNoSuffix
	case !ValidName(name):
		e.Err = errInvalidName
	case !isSocket:
		_, e.Err = d.SocketAt(d.path + "/" + file.Name()).lookup()
	}
	return e, true
}

// listError explains err, with which opening or reading the directory failed.
func (d Dir) listError(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return d.searchDenied(d.path)
	case isExhausted(err):
		return fmt.Errorf("%w: reading %s: %w", ErrBusy, d, errors.Unwrap(err))
	}
	if err := d.check(); err != nil {
		return err
	}
	return fmt.Errorf("%w: reading %s: %w", ErrNoDirectory, d, errors.Unwrap(err))
}
