// Package socketdir looks up names in a directory of Unix sockets and connects to
// exactly the socket that a name means.
//
// It knows the kernel and nothing of HTTP. Names come from hostile clients, so a name is
// validated before the disk is touched. A socket is connected to through a descriptor of
// the inode that was checked, so that no symlink, no ".." and no file that is swapped in
// meanwhile leads out of the directory.
package socketdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The reasons why a socket cannot be reached. Every error of this package wraps one of
// them in a sentence that says what to do.
var (
	ErrNotFound    = errors.New("no such socket")
	ErrNotSocket   = errors.New("not a usable socket")
	ErrRefused     = errors.New("connection refused")
	ErrDenied      = errors.New("permission denied")
	ErrNoDirectory = errors.New("no such directory")
	// ErrBusy means that the socket's backlog is full, or that Aegis has no descriptor or
	// memory left.
	ErrBusy = errors.New("busy")
	// ErrTimeout means that the context ended before the file system responded.
	ErrTimeout = errors.New("the file system did not respond in time")
)

// Dir is a directory of sockets. Each call opens the directory again, because it may be
// created later, unmounted, or removed and created again.
//
// The file system may hang. Then every method returns ErrTimeout when its context ends.
type Dir struct {
	path    string
	suffix  string // of the file names of its sockets
	workers *workerPool
}

// New returns the directory at path, of sockets called NAME.sock. It need not exist yet.
func New(path string) Dir { return NewWithSuffix(path, Suffix) }

// NewWithSuffix is New for sockets whose file names have another suffix, or none.
func NewWithSuffix(path, suffix string) Dir {
	return Dir{path: path, suffix: suffix, workers: newWorkerPool()}
}

// String returns the path of the directory.
func (d Dir) String() string { return d.path }

// contains reports whether path names an entry of the directory itself.
func (d Dir) contains(path string) bool { return filepath.Dir(path) == d.path }

// check returns an error if the directory does not exist, is hidden, is not a directory, or
// may not be searched.
func (d Dir) check() error {
	st, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return d.searchDenied(d.path)
	case errors.Is(err, fs.ErrNotExist):
		if err := checkHidden(d.path); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s does not exist (yet); create or mount it, or name another one with -sockdir or -varlinkdir", ErrNoDirectory, d)
	case err != nil:
		return fmt.Errorf("%w: checking %s: %w", ErrNoDirectory, d, errors.Unwrap(err))
	case !st.IsDir():
		return fmt.Errorf("%w: %s is not a directory; choose one with -sockdir or -varlinkdir", ErrNoDirectory, d)
	}
	if unix.Access(d.path, unix.X_OK) != nil {
		return d.searchDenied(d.path)
	}
	return nil
}

// isExhausted reports whether err means that this process or the machine has no
// descriptor or memory left: there is nothing wrong with the socket then.
func isExhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) ||
		errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS)
}
