package socketdir

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects to the socket and returns the connection and the ID of the socket that it
// reached. It does not wait for a full backlog. The error wraps ErrRefused or an error of Lookup.
func (s Socket) Dial(ctx context.Context) (*os.File, ID, error) {
	c, err := runWithDeadline(ctx, s.dir, s.dial, dialedConn.close)
	return c.file, c.id, err
}

// dialedConn is a connection to the socket with this ID.
type dialedConn struct {
	file *os.File
	id   ID
}

func (c dialedConn) close() { c.file.Close() }

func (s Socket) dial() (dialedConn, error) {
	// The descriptor pins the inode: the socket that is checked here is the one that is
	// connected to, whatever the name means by then. openat2 is no alternative, because
	// it fails with ENOSYS under RestrictSUIDSGID=true.
	var fd int
	err := retryEINTR(func() (err error) {
		fd, err = unix.Open(s.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return dialedConn{}, s.dir.lookupError(s.path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return dialedConn{}, s.dir.lookupError(s.path, err)
	}
	if err := s.dir.checkKind(s.path, st.Mode); err != nil {
		return dialedConn{}, err
	}
	file, err := connect(fd)
	if err != nil {
		return dialedConn{}, s.dialError(err, &st)
	}
	return dialedConn{file, newID(&st)}, nil
}

// connect returns a connection to the socket that the descriptor fd refers to. Its path under /proc
// is short, whereas that of the socket may be longer than the 108 bytes of a socket address.
func connect(fd int) (*os.File, error) {
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// So that a service cannot even send descriptors (Linux 6.16). Elsewhere, they are closed when they arrive.
	unix.SetsockoptInt(conn, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0)
	address := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(fd)}
	if err := unix.Connect(conn, address); err != nil {
		unix.Close(conn)
		return nil, err
	}
	file := os.NewFile(uintptr(conn), "service")
	// NewFile does not report that Go's poller rejected the descriptor; this does.
	if file.SetDeadline(time.Time{}) != nil {
		file.Close()
		return nil, unix.ENOMEM
	}
	return file, nil
}

// dialError explains err, with which connecting to the socket failed.
func (s Socket) dialError(err error, st *unix.Stat_t) error {
	switch {
	case err == unix.ECONNREFUSED:
		return fmt.Errorf("%w: nobody is listening on %s any more; start its service, or remove the socket that it left behind", ErrRefused, s.path)
	case err == unix.EACCES, err == unix.EPERM:
		return denied(s.path, st, "connecting needs write permission on the socket", connectRemedy(s.path, st))
	case err == unix.EAGAIN:
		return fmt.Errorf("%w: the backlog of %s is full; its service accepts too slowly or hangs", ErrBusy, s.path)
	case err == unix.EPROTOTYPE:
		return fmt.Errorf("%w: %s is a datagram or packet socket; a scrape needs a stream socket", ErrNotSocket, s.path)
	case isExhausted(err):
		return fmt.Errorf("%w: Aegis cannot open a connection to %s: %w", ErrBusy, s.path, err)
	case err == unix.ENOENT:
		return fmt.Errorf("%w: connecting to %s needs /proc, which is not mounted for Aegis", ErrDenied, s.path)
	default:
		return fmt.Errorf("%w: connecting to %s: %w", ErrRefused, s.path, err)
	}
}
