package scrape

import (
	"io"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// Splicer is a writer that can take what is written to it from a pipe, in the kernel.
type Splicer interface {
	io.Writer
	// Expect announces that the next n bytes come by Splice. Whatever else comes
	// before they have is an error, as is the end.
	Expect(n int64) error
	// Splice writes n bytes from pipe, which holds them, and returns how many it
	// wrote: all, if there is no error.
	Splice(pipe, n int) (int64, error)
}

// splice moves the bytes that are ahead to w in the kernel. Where no pipe is to be
// had, it copies instead.
func (a *Response) splice(w Splicer, ahead int64) (written int64, err error) {
	p, err := takePipe()
	if err != nil {
		return a.copy(w)
	}
	defer func() { p.give(err == nil) }()
	if err := w.Expect(ahead); err != nil {
		return 0, scraperError(err)
	}
	for written < ahead {
		came, err := a.e.pull(p, int(min(ahead-written, limits.PipeSize)))
		if err != nil {
			return written, a.e.readError(err)
		}
		a.size += int64(came)
		a.framing.skip(int64(came))
		n, err := w.Splice(p.out, came)
		written += n
		if err != nil {
			return written, scraperError(err)
		}
	}
	a.whole = a.framing.done
	return written, nil
}

// pull waits for more, and moves at most n bytes of it into p.
func (e *exchange) pull(p pipe, n int) (came int, err error) {
	failed := e.conn.raw.Read(func(fd uintptr) (done bool) {
		came, err = rawsys.Splice(int(fd), p.in, n)
		return err != unix.EAGAIN
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, err
	case came == 0:
		return 0, io.ErrUnexpectedEOF
	}
	e.received += int64(came)
	return came, nil
}

// pipe is where bytes are between two sockets.
type pipe struct{ out, in int }

// pipes has those that are empty and in nobody's use.
var pipes = make(chan pipe, limits.MaxIdlePipes)

// takePipe returns an empty pipe that holds up to limits.PipeSize, or less where the
// system allows no more.
func takePipe() (pipe, error) {
	select {
	case p := <-pipes:
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

// give has p used again if it is empty, or closes it.
func (p pipe) give(empty bool) {
	if empty {
		select {
		case pipes <- p:
			return
		default:
		}
	}
	unix.Close(p.in)
	unix.Close(p.out)
}
