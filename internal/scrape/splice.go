package scrape

import (
	"io"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// Splicer is a writer that needs fewer system calls, and can move bytes from a pipe to its
// connection within the kernel, as splice(2) does.
type Splicer interface {
	io.Writer
	// WriteAll writes parts, in order, and returns how many bytes it wrote: all of
	// them, if there is no error.
	WriteAll(parts [][]byte) (written int64, err error)
	// Expect announces that the next n bytes come from Splice. Until they all have, any
	// other write is an error, and so is the end of the body.
	Expect(n int64) error
	// Splice writes n bytes from the pipe, which holds at least that many, and returns
	// how many it wrote: n, if there is no error.
	Splice(pipe, n int) (written int64, err error)
}

// splice moves the next n bytes, which are known to be content, to w. If it cannot get a
// pipe, it copies some bytes instead.
func (r *Response) splice(w Splicer, n int64) (written int64, err error) {
	p, err := getPipe()
	if err != nil {
		return r.copyNext(w)
	}
	defer func() { p.release(err == nil) }()
	if err := w.Expect(n); err != nil {
		return 0, writeError(err)
	}
	for written < n {
		moved, err := r.rt.spliceTo(p, int(min(n-written, limits.PipeSize)))
		if err != nil {
			return written, r.rt.readError(err)
		}
		r.size += int64(moved)
		r.body.skip(int64(moved))
		m, err := w.Splice(p.out, moved)
		written += m
		if err != nil {
			return written, writeError(err)
		}
	}
	r.complete = r.body.done()
	return written, nil
}

// spliceTo waits for data and moves at most n bytes of it into p.
func (rt *roundTrip) spliceTo(p pipe, n int) (moved int, err error) {
	waitErr := rt.await(func(fd uintptr) (done bool) {
		moved, err = rawsys.Splice(int(fd), p.in, n)
		return err != unix.EAGAIN
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err != nil:
		return 0, err
	case moved == 0:
		return 0, io.ErrUnexpectedEOF
	}
	rt.received += int64(moved)
	return moved, nil
}

// pipe is a pipe(2), which splice(2) needs between two sockets.
type pipe struct{ out, in int }

// idlePipes holds empty pipes for the next large body.
var idlePipes = make(chan pipe, limits.MaxIdlePipes)

// getPipe returns an empty pipe of limits.PipeSize, or less if the system allows no more.
func getPipe() (pipe, error) {
	select {
	case p := <-idlePipes:
		return p, nil
	default:
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return pipe{}, err
	}
	unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, limits.PipeSize)
	return pipe{out: fds[0], in: fds[1]}, nil
}

// release keeps p for the next body if it is empty, or closes it.
func (p pipe) release(empty bool) {
	if empty {
		select {
		case idlePipes <- p:
			return
		default:
		}
	}
	p.close()
}

func (p pipe) close() {
	unix.Close(p.in)
	unix.Close(p.out)
}
