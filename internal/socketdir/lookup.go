package socketdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ID identifies a socket by its inode and the time at which that last changed. A socket
// has another ID after it was removed and created again, or got another owner or mode.
type ID struct {
	dev, ino uint64
	ctime    unix.Timespec
}

func newID(st *unix.Stat_t) ID { return ID{uint64(st.Dev), st.Ino, st.Ctim} }

// Socket is a path at which there may be a socket.
type Socket struct {
	dir  Dir
	path string
}

// Socket returns the socket that name means, which need not exist. The error wraps ErrNotFound: the
// name is invalid.
func (d Dir) Socket(name string) (Socket, error) {
	if !ValidName(name) {
		return Socket{}, errInvalidName
	}
	return d.SocketAt(d.path + "/" + name + d.suffix), nil
}

// SocketAt returns the socket at path, which comes from the operator and may lie outside the
// directory. If its last element is a symlink, that is not followed.
func (d Dir) SocketAt(path string) Socket { return Socket{dir: d, path: path} }

// String returns the path.
func (s Socket) String() string { return s.path }

// Lookup returns the ID of the socket. The error wraps ErrNotFound, ErrNotSocket, ErrDenied,
// ErrNoDirectory, ErrBusy or ErrTimeout.
func (s Socket) Lookup(ctx context.Context) (ID, error) {
	return runWithDeadline(ctx, s.dir, s.lookup, nil)
}

func (s Socket) lookup() (ID, error) {
	var st unix.Stat_t
	err := retryEINTR(func() error { return unix.Lstat(s.path, &st) })
	if err != nil {
		return ID{}, s.dir.lookupError(s.path, err)
	}
	return newID(&st), s.dir.checkKind(s.path, st.Mode)
}

// lookupError explains err, with which a system call on path failed.
func (d Dir) lookupError(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		if err := checkHidden(path); err != nil {
			return err
		}
		if err := d.check(); d.contains(path) && errors.Is(err, ErrNoDirectory) {
			return err
		}
		return fmt.Errorf("%w: there is no %s; check that its service is running and listens there", ErrNotFound, path)
	case errors.Is(err, fs.ErrPermission):
		return d.searchDenied(path)
	case isExhausted(err):
		return fmt.Errorf("%w: looking up %s: %w", ErrBusy, path, err)
	default:
		return fmt.Errorf("%w: looking up %s: %w", ErrNoDirectory, path, err)
	}
}

// checkKind returns an error unless mode, the st_mode of path, is that of a socket.
func (d Dir) checkKind(path string, mode uint32) error {
	var kind string
	switch mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFLNK:
		// Not even to see what is there: that may hang, or be nobody's business.
		to, _ := os.Readlink(path)
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		return fmt.Errorf("%w: %s is a symlink, and Aegis does not follow symlinks; if its socket is there, "+
			"set socket: %q in the targets file", ErrNotSocket, path, to)
	case unix.S_IFDIR:
		kind = "directory"
	case unix.S_IFIFO:
		kind = "FIFO"
	case unix.S_IFREG:
		kind = "regular file"
	default:
		kind = "device"
	}
	advice := "set the path of the socket itself in the targets file"
	if d.contains(path) {
		advice = "if nobody needs it, remove it and restart the service"
	}
	return fmt.Errorf("%w: %s is a %s, not a socket; %s", ErrNotSocket, path, kind, advice)
}

func retryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
