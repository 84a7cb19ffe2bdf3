package socketdir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ID is the identity of a socket: that of its inode, and when that was last
// changed. A socket that is removed and made again, or whose owner or mode
// changes, has another.
type ID struct {
	dev, ino    uint64
	ctime, nsec int64
}

func identity(st *unix.Stat_t) ID {
	return ID{dev: uint64(st.Dev), ino: st.Ino, ctime: int64(st.Ctim.Sec), nsec: int64(st.Ctim.Nsec)}
}

// Socket is a socket found in a Dir.
type Socket struct {
	ID     ID
	folder Dir
	path   string
}

// Dial connects to the socket, without blocking, and returns the identity of the one
// reached, which is not ID if the socket was replaced since Lookup. It does not wait: a
// full backlog is an error. The error wraps ErrNotFound, ErrNotSocket,
// ErrRefused, ErrDenied, ErrNoDirectory, ErrBusy or ErrTimeout.
func (s Socket) Dial(ctx context.Context) (*os.File, ID, error) {
	if filepath.Dir(s.path) == s.folder.path {
		if r, ok := s.folder.glance.dial(s.path); ok {
			return r.conn, r.id, nil
		}
	}
	r, err := patiently(ctx, s.folder, s.dial, func(late reached) { late.conn.Close() })
	return r.conn, r.id, err
}

// reached is the end of a dial.
type reached struct {
	conn *os.File
	id   ID
}

func (s Socket) dial() (reached, error) {
	// The descriptor pins the inode: what is checked here is what is
	// connected to, whatever happens to the name meanwhile. Not openat2,
	// which RestrictSUIDSGID=true makes fail with ENOSYS.
	var at int
	err := ignoringEINTR(func() (err error) {
		at, err = unix.Open(s.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return reached{}, s.folder.lookupError(s.path, err)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return reached{}, s.folder.lookupError(s.path, err)
	}
	if err := s.folder.checkKind(s.path, st.Mode); err != nil {
		return reached{}, err
	}
	conn, err := connect(descriptorPath(at))
	if err != nil {
		return reached{}, s.dialError(err, &st)
	}
	return reached{conn, identity(&st)}, nil
}

// descriptorPath is a path of what fd is open on. It is short, however long another is:
// a socket address holds 108 bytes.
func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func connect(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return connection(fd)
}

// connection returns fd, a socket, as a file that Go's poller waits for.
func connection(fd int) (*os.File, error) {
	conn := os.NewFile(uintptr(fd), "service")
	if conn.SetDeadline(time.Time{}) != nil {
		conn.Close()
		return nil, unix.ENOMEM // The poller refused it, which it says in no other way.
	}
	return conn, nil
}

func (s Socket) dialError(err error, st *unix.Stat_t) error {
	switch {
	case err == unix.ECONNREFUSED:
		return fmt.Errorf("%w: nobody is listening on %s any more; start its service, or remove what it left behind", ErrRefused, s.path)
	case err == unix.EACCES, err == unix.EPERM:
		return deniedSocket(s, st)
	case err == unix.EAGAIN:
		return fmt.Errorf("%w: the backlog of %s is full; its service accepts too slowly or hangs", ErrBusy, s.path)
	case err == unix.EPROTOTYPE:
		return fmt.Errorf("%w: %s is a datagram or packet socket; a scrape needs a stream socket", ErrNotSocket, s.path)
	case exhausted(err):
		return fmt.Errorf("%w: Aegis cannot open a connection to %s: %w", ErrBusy, s.path, err)
	case err == unix.ENOENT:
		return fmt.Errorf("%w: connecting to %s needs /proc, which is not mounted for Aegis", ErrDenied, s.path)
	default:
		return fmt.Errorf("%w: connecting to %s: %w", ErrRefused, s.path, err)
	}
}

// checkKind returns an error unless mode, as stat(2) gives it of path, is a socket's.
func (f Dir) checkKind(path string, mode uint32) error {
	advice := "; name the socket itself in the targets file"
	if filepath.Dir(path) == f.path {
		advice = ", where a socket should be; if nobody needs it, remove it and start the service anew"
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFLNK:
		return fmt.Errorf("%w: %s is a link, and links are not followed; let the service listen there itself", ErrNotSocket, path)
	case unix.S_IFDIR:
		return fmt.Errorf("%w: %s is a folder%s", ErrNotSocket, path, advice)
	case unix.S_IFIFO:
		return fmt.Errorf("%w: %s is a pipe%s", ErrNotSocket, path, advice)
	case unix.S_IFREG:
		return fmt.Errorf("%w: %s is a plain file%s", ErrNotSocket, path, advice)
	default:
		return fmt.Errorf("%w: %s is a device%s", ErrNotSocket, path, advice)
	}
}
