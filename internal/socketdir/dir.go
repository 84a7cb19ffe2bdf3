package socketdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Dir is a folder of sockets. The folder itself is opened anew at each use:
// it may be made later, unmounted, or removed and made again.
//
// Its file system may hang, and a system call that hangs holds a thread. So
// calls return when their context ends, whatever has become of the system call
// (see patience.go), unless it is known that it cannot hang (see glance.go).
type Dir struct {
	path string
	patience
	looks  *sync.Pool // of *look, which are used again
	glance *glancer
}

// New returns the folder at path, which need not exist.
func New(path string) Dir {
	f := Dir{path: path, patience: newPatience(), looks: new(sync.Pool), glance: &glancer{folder: path}}
	f.looks.New = func() any { return newLook(f) }
	return f
}

// String returns the path.
func (f Dir) String() string { return f.path }

// Lookup finds the socket that name means. The error wraps ErrNotFound (also
// for a name that is not valid), ErrNotSocket, ErrDenied, ErrNoDirectory, ErrBusy
// or ErrTimeout.
func (f Dir) Lookup(ctx context.Context, name string) (Socket, error) {
	if !ValidName(name) {
		return Socket{}, errInvalidName
	}
	path := f.path + "/" + name + Suffix
	if id, ok := f.glance.look(path); ok {
		return Socket{folder: f, path: path, ID: id}, nil
	}
	return f.patientLookup(ctx, path)
}

// LookupPath finds the socket at path, which the operator names: anywhere, and with
// the patience that goes for the folder. The last element of path is not followed
// if it is a link. The error is as Lookup's.
func (f Dir) LookupPath(ctx context.Context, path string) (Socket, error) {
	return f.patientLookup(ctx, path)
}

func (f Dir) patientLookup(ctx context.Context, path string) (Socket, error) {
	l := f.looks.Get().(*look)
	l.path = path
	if !f.do(ctx, &l.job) {
		return Socket{}, f.hangs() // l may still be at work
	}
	socket, err := l.socket, l.err
	f.looks.Put(l)
	return socket, err
}

// look is the job of a Lookup.
type look struct {
	job
	path   string
	socket Socket
	err    error
}

func newLook(f Dir) *look {
	l := new(look)
	l.job = job{run: func() { l.socket, l.err = f.lookup(l.path) }, late: func() { f.looks.Put(l) }}
	return l
}

func (f Dir) lookup(path string) (Socket, error) {
	var st unix.Stat_t
	err := ignoringEINTR(func() error { return unix.Lstat(path, &st) })
	if err != nil {
		return Socket{}, f.lookupError(path, err)
	}
	if err := f.checkKind(path, st.Mode); err != nil {
		return Socket{}, err
	}
	return Socket{folder: f, path: path, ID: identity(&st)}, nil
}

var (
	errInvalidName = fmt.Errorf("%w: not a valid name, which is 1 to %d letters, digits and . _ - @ : +, beginning with a letter or digit", ErrNotFound, NameMax)
	errNoSuffix    = fmt.Errorf("%w: a socket, but its name does not end in %s; have its service call it so", ErrNotSocket, Suffix)
)

// lookupError makes errno, met while looking at path, a failure to act on.
func (f Dir) lookupError(path string, errno error) error {
	switch {
	case errors.Is(errno, unix.ENOENT), errors.Is(errno, unix.ENOTDIR):
		if err := f.check(); filepath.Dir(path) == f.path && errors.Is(err, ErrNoDirectory) {
			return err
		}
		return fmt.Errorf("%w: there is no %s; see that its service runs, and listens there", ErrNotFound, path)
	case errors.Is(errno, unix.EACCES), errors.Is(errno, unix.EPERM):
		return f.denied(path)
	case exhausted(errno):
		return fmt.Errorf("%w: looking at %s: %w", ErrBusy, path, errno)
	default:
		return fmt.Errorf("%w: looking at %s: %w", ErrNoDirectory, path, errno)
	}
}

// check reports whether the folder is there and can be searched.
func (f Dir) check() error {
	st, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return f.denied(f.path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s does not exist (yet): make it or mount it, or name another with -sockdir", ErrNoDirectory, f)
	case err != nil:
		return fmt.Errorf("%w: looking at %s: %w", ErrNoDirectory, f, errors.Unwrap(err))
	case !st.IsDir():
		return fmt.Errorf("%w: %s is no folder; name one with -sockdir", ErrNoDirectory, f)
	}
	if unix.Access(f.path, unix.X_OK) != nil {
		return f.denied(f.path)
	}
	return nil
}

// Entry is something in the folder that is a socket or is called like one.
type Entry struct {
	// File is the file name, and Name that without Suffix: hostile text unless
	// Err is nil.
	File, Name string
	// Err says why it is not served; nil if it is a socket with a valid name.
	Err error
}

// List reads the folder and returns its entries, sorted by name. Files that are
// neither called NAME.sock nor sockets are left out. The error wraps ErrNoDirectory, ErrDenied, ErrBusy or
// ErrTimeout.
func (f Dir) List(ctx context.Context) ([]Entry, error) {
	return patiently(ctx, f, f.list, nothing)
}

func (f Dir) list() ([]Entry, error) {
	d, err := os.Open(f.path)
	if err != nil {
		return nil, f.listError(err)
	}
	defer d.Close()
	var entries []Entry
	for {
		files, err := d.ReadDir(limits.ReadDirBatchSize)
		entries = f.appendEntries(entries, files)
		runtime.Gosched() // Scrapes are to have their turn, however many there are.
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, f.listError(err)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.File, b.File) })
	return entries, nil
}

func (f Dir) appendEntries(entries []Entry, files []fs.DirEntry) []Entry {
	for _, file := range files {
		name, ok := strings.CutSuffix(file.Name(), Suffix)
		isSocket := file.Type() == fs.ModeSocket
		if (!ok || name == "") && !isSocket {
			continue
		}
		e := Entry{File: file.Name(), Name: name}
		switch {
		case !ok:
			e.Err = errNoSuffix
		case !ValidName(name):
			e.Err = errInvalidName
		case !isSocket:
			_, e.Err = f.lookup(f.path + "/" + file.Name())
		}
		entries = append(entries, e)
	}
	return entries
}

func (f Dir) listError(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return f.denied(f.path)
	case exhausted(err):
		return fmt.Errorf("%w: reading %s: %w", ErrBusy, f, errors.Unwrap(err))
	}
	if err := f.check(); err != nil {
		return err
	}
	return fmt.Errorf("%w: reading %s: %w", ErrNoDirectory, f, errors.Unwrap(err))
}

// exhausted reports whether err says that this process or machine is out of
// descriptors or memory: nothing is wrong with the socket.
func exhausted(err error) bool {
	for _, errno := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
