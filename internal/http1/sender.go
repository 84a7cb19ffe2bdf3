package http1

import (
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// sender sends on a connection. It sets a deadline only if it has to wait: nearly always the kernel takes
// everything at once.
type sender struct {
	conn     *conn.Conn
	deadline time.Time
	waited   bool
	err      error

	// The arguments of trySend, which is made a function value once.
	parts     [][]byte
	flags     int
	onTrySend func(fd uintptr) bool
}

func (s *sender) init(c *conn.Conn) { s.conn, s.onTrySend = c, s.trySend }

// send sends parts, which it changes, before deadline. more tells that more follows soon, which may then go into
// the same packet.
func (s *sender) send(parts [][]byte, deadline time.Time, more bool) error {
	s.parts, s.flags = skip(parts, 0), 0
	if more {
		s.flags = unix.MSG_MORE
	}
	return s.write(s.onTrySend, deadline)
}

func (s *sender) trySend(fd uintptr) (done bool) {
	for len(s.parts) > 0 {
		n, err := rawsys.Send(int(fd), s.parts[:min(len(s.parts), rawsys.Parts)], s.flags)
		if err != nil {
			return s.failed(err)
		}
		s.parts = skip(s.parts, n)
	}
	return true
}

// skip returns what is left of parts after the first n bytes.
func skip(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if n > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// splice moves n bytes from pipe, which has them, before deadline. It returns how many it moved: n if there is
// no error.
func (s *sender) splice(pipe, n int, deadline time.Time) (moved int, err error) {
	err = s.write(func(fd uintptr) (done bool) {
		for moved < n {
			m, err := rawsys.Splice(pipe, int(fd), n-moved)
			if err != nil {
				return s.failed(err)
			}
			moved += m
		}
		return true
	}, deadline)
	return moved, err
}

// write calls try each time that the kernel may take more, until it returns true or deadline has passed.
func (s *sender) write(try func(fd uintptr) (done bool), deadline time.Time) error {
	s.deadline, s.waited, s.err = deadline, false, nil
	err := s.conn.Raw().Write(try)
	if s.waited {
		s.conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return err
	}
	return s.err
}

// failed prepares to wait if the kernel takes no more now. It reports true for any other error, which ends
// sending.
func (s *sender) failed(err error) (done bool) {
	if err != unix.EAGAIN {
		s.err = err
		return true
	}
	s.waited = true
	s.conn.SetWriteDeadline(s.deadline)
	return false
}
