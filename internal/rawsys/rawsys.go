// Package rawsys makes system calls that never wait, on descriptors that are
// non-blocking, without telling Go's scheduler of them.
//
// Go takes every other system call for one that may last. While all is idle, its
// monitor thread sleeps, and the first such call wakes it, for a millisecond of
// looking fifty times whether that call has ended: on a daemon that answers one
// scrape and is idle again that costs as much as the scrape. In exchange a call of
// this package keeps its processor, and on one processor everybody waits with it. So
// no call that may hang is made here: package socketdir says how it knows that of its
// own.
//
// The package knows system calls only. Errors are plain unix.Errno; EINTR is none of
// them.
package rawsys

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read is read(2) from a non-blocking descriptor.
func Read(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result(n, errno)
}

// Write is write(2) to a non-blocking descriptor.
func Write(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result(n, errno)
}

// Parts is how many parts Send sends at most.
const Parts = 10

// Send is sendmsg(2) on fd, a non-blocking socket, of parts, one after the other. More
// than Parts of them are EMSGSIZE.
func Send(fd int, parts [][]byte, flags int) (int, error) {
	if len(parts) > Parts {
		return -1, unix.EMSGSIZE
	}
	// One variable, so that the kernel's pointer from the one to the other holds.
	var msg struct {
		head unix.Msghdr
		vec  [Parts]unix.Iovec
	}
	used := 0
	for _, p := range parts {
		if len(p) > 0 {
			msg.vec[used].Base = unsafe.SliceData(p)
			msg.vec[used].SetLen(len(p))
			used++
		}
	}
	msg.head.Iov = &msg.vec[0]
	msg.head.SetIovlen(used)
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags|unix.MSG_NOSIGNAL))
	return result(n, errno)
}

// Splice is splice(2) of at most n bytes between from and to, one of which is a pipe and
// the other a non-blocking socket.
func Splice(from, to, n int) (int, error) {
	moved, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK)
	return result(moved, errno)
}

// Poll returns which of events, and of those that need not be asked for, fd has
// now: poll(2) without a wait.
func Poll(fd int, events int16) (int16, error) {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	for {
		var now unix.Timespec
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		// A signal that came before ends it, though it does not wait; the other calls
		// here begin again by themselves then (SA_RESTART, signal(7)).
		if errno != unix.EINTR {
			_, err := result(n, errno)
			return p.Revents, err
		}
	}
}

// Unsent returns how many bytes wait in the kernel to be sent on fd, a TCP
// connection (TCP_INFO, tcp(7)); none if that has ended. There is an ioctl for it, too,
// but to forbid those is worth more.
func Unsent(fd int) (int, error) {
	var info unix.TCPInfo
	size := uint32(unsafe.Offsetof(info.Notsent_bytes) + unsafe.Sizeof(info.Notsent_bytes))
	n, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if _, err := result(n, errno); err != nil {
		return 0, err
	}
	if info.State == unix.BPF_TCP_CLOSE {
		return 0, nil // Its count stays where it was when the connection was reset.
	}
	return int(info.Notsent_bytes), nil
}

// PathMax is how many bytes a path may have.
const PathMax = 511

// cPath is a path as system calls take it.
type cPath [PathMax + 1]byte

// set sets p. A path longer than PathMax is ENAMETOOLONG, one with a NUL in it EINVAL.
func (p *cPath) set(path string) error {
	switch {
	case len(path) > PathMax:
		return unix.ENAMETOOLONG
	case strings.IndexByte(path, 0) >= 0:
		return unix.EINVAL
	}
	copy(p[:], path)
	return nil
}

// Open is open(2) of path with O_PATH and O_CLOEXEC beside flags. Nothing in it keeps
// that from waiting for the file system; the caller does. A path longer than PathMax
// is ENAMETOOLONG, one with a NUL in it EINVAL.
func Open(path string, flags int) (fd int, err error) {
	var name cPath
	if err := name.set(path); err != nil {
		return -1, err
	}
	here := unix.AT_FDCWD
	n, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(here), uintptr(unsafe.Pointer(&name)), uintptr(flags|unix.O_PATH|unix.O_CLOEXEC), 0, 0, 0)
	return result(n, errno)
}

// Close is close(2) of what Open opened.
func Close(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// Statx is statx(2) of path, which starts from the folder dir where it does not begin
// with a slash. Waiting and path are as in Open.
func Statx(dir int, path string, flags, mask int, st *unix.Statx_t) error {
	var name cPath
	if err := name.set(path); err != nil {
		return err
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_STATX, uintptr(dir), uintptr(unsafe.Pointer(&name)), uintptr(flags), uintptr(mask), uintptr(unsafe.Pointer(st)), 0)
	_, err := result(n, errno)
	return err
}

// Connect makes a non-blocking stream socket and connects it to the Unix socket at
// path: socket(2) and connect(2). If that socket's backlog is full, that is EAGAIN.
// Waiting is as in Open; a path longer than a socket address holds is ENAMETOOLONG.
func Connect(path string) (fd int, err error) {
	address := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	if len(path) >= len(address.Path) {
		return -1, unix.ENAMETOOLONG
	}
	for i := range len(path) {
		address.Path[i] = int8(path[i])
	}
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if fd, err = result(n, errno); err != nil {
		return fd, err
	}
	size := unsafe.Offsetof(address.Path) + uintptr(len(path)) + 1
	n, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&address)), size)
	if _, err := result(n, errno); err != nil {
		Close(fd)
		return -1, err
	}
	return fd, nil
}

func result(n uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
