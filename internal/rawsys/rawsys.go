//go:build linux

// Package rawsys makes system calls on non-blocking sockets and pipes without telling
// Go's scheduler.
//
// The scheduler assumes that every other system call may block. Its monitor thread sleeps
// while the process is idle. The first such call wakes it, and then it checks again and again
// whether that call has returned (cmd/aegis/main.go makes it check less often). A scrape
// has six calls, so that would cost a fifth of it.
//
// In exchange, a call of this package keeps its processor: with GOMAXPROCS=1, every other
// goroutine waits for it. So there are no calls here that may block, and none on files,
// whose file system may hang.
//
// Errors are plain unix.Errno, and never EINTR.
package rawsys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read calls read(2) on fd, which must be non-blocking.
func Read(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result(n, errno)
}

// Write calls write(2) on fd, which must be non-blocking.
func Write(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result(n, errno)
}

// Parts is the largest number of parts that Send accepts.
const Parts = 10

// Send calls sendmsg(2) on fd, a non-blocking socket, with the parts one after the other.
// It returns EMSGSIZE for more than Parts of them.
func Send(fd int, parts [][]byte, flags int) (int, error) {
	if len(parts) > Parts {
		return -1, unix.EMSGSIZE
	}
	// They are one variable, so that Go moves both at once if the stack grows, and the
	// pointer from one to the other stays valid.
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

// Splice calls splice(2) to move at most n bytes from one descriptor to another. One must be
// a pipe and the other a non-blocking socket.
func Splice(from, to, n int) (int, error) {
	moved, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK)
	return result(moved, errno)
}

// Poll calls poll(2) without waiting, and returns which of events fd has now, and which of
// those that poll always reports.
func Poll(fd int, events int16) (int16, error) {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	for {
		var now unix.Timespec
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		// A pending signal interrupts ppoll even if it does not wait. The kernel restarts
		// the other calls of this package by itself (SA_RESTART, signal(7)).
		if errno != unix.EINTR {
			_, err := result(n, errno)
			return p.Revents, err
		}
	}
}

// Unsent returns how many bytes the kernel has yet to send on fd, a TCP connection: 0 if it is
// closed. It reads them from TCP_INFO (tcp(7)), because the service unit forbids ioctl(2).
func Unsent(fd int) (int, error) {
	var info unix.TCPInfo
	size := uint32(unsafe.Offsetof(info.Notsent_bytes) + unsafe.Sizeof(info.Notsent_bytes))
	n, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if _, err := result(n, errno); err != nil {
		return 0, err
	}
	if info.State == unix.BPF_TCP_CLOSE {
		return 0, nil // The count keeps its last value if the connection was reset.
	}
	return int(info.Notsent_bytes), nil
}

// result converts what a raw system call returns into a number and an error.
func result(n uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
