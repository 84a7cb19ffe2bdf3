package http1

import (
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// handover is the listener of what is for net/http.
type handover struct {
	net.Listener
	conns chan net.Conn
	own   sync.WaitGroup // connections that are served here
	over  chan struct{}  // closed when nothing more can come
	err   error          // why, then
}

// Accept returns the next connection that is for net/http.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.over:
		return nil, h.err
	}
}

// give hands c over.
func (h *handover) give(c net.Conn) { h.conns <- c }

// fair is a connection that lets others have their turn, and ends as settled. Some of
// it may have been read already.
type fair struct {
	*net.TCPConn
	server   *Server
	raw      syscall.RawConn
	read     []byte
	closed   atomic.Bool
	stranger *stranger // nil for what was served here before
}

// Read returns first what was read already. It ends a connection that sends more than it
// may.
func (f *fair) Read(p []byte) (n int, err error) {
	if len(f.read) == 0 {
		if !f.stranger.begins() {
			f.read = nil
			return f.readMore(p)
		}
		// At once, as each part waits for its turn.
		hello := make([]byte, limits.PreRequestReadSize)
		if n, err = f.readMore(hello); n == 0 {
			return 0, err
		}
		f.read = hello[:n]
	}
	n = copy(p, f.read)
	f.read = f.read[n:]
	return n, nil
}

func (f *fair) readMore(p []byte) (n int, err error) {
	f.stranger.leave()
	if f.stranger != nil {
		p = p[:min(len(p), limits.PreRequestReadSize)] // Or much of many requests is counted at once.
	}
	if n, err = f.TCPConn.Read(p); n == 0 {
		return n, err
	}
	if unasked := f.stranger.came(n); unasked != nil {
		if unasked == errUnasked && f.server.Unasked != nil {
			f.server.Unasked(f.RemoteAddr())
		}
		reset(f.TCPConn)
		return 0, unasked
	}
	if n == len(p) {
		// There may be more, without end: a scraper that sends faster than it is
		// answered has the others wait for it only this long.
		runtime.Gosched()
	}
	return n, err
}

// Write sends p.
func (f *fair) Write(p []byte) (n int, err error) {
	f.stranger.answers()
	n, err = f.TCPConn.Write(p)
	f.stranger.sent(n)
	return n, err
}

// Close closes the connection, when the scraper has taken what was sent, or some time
// after.
func (f *fair) Close() error {
	f.stranger.end()
	if f.closed.Swap(true) || hungUp(f.raw) {
		return f.TCPConn.Close()
	}
	go func() {
		if f.server.settle(f.raw, time.Now().Add(limits.ErrorWriteTimeout)) {
			f.linger()
			f.TCPConn.Close()
		} else {
			reset(f.TCPConn)
		}
	}()
	return nil
}

// linger lets the scraper read the last that was sent, as the reason for which TLS
// failed. It may be sending its request already, and to close a connection on which
// something comes is to reset it.
func (f *fair) linger() {
	defer f.server.lingering.Add(-1)
	if f.server.lingering.Add(1) > limits.MaxUndrained {
		return
	}
	f.CloseWrite()
	f.SetReadDeadline(time.Now().Add(limits.LingerTimeout))
	io.CopyN(io.Discard, f.TCPConn, limits.MaxRequestHead)
}

// Fair returns l with connections that let others have their turn: on one
// processor, a scraper that floods Aegis would take it from them. What they may send
// without a request is bounded; of each request that comes, Requested is to be told.
func (s *Server) Fair(l net.Listener) net.Listener {
	return fairListener{l, s, newWorkPlaces()}
}

type fairListener struct {
	net.Listener
	server *Server
	places *workPlaces
}

// Accept returns the next connection.
func (l fairListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		if raw, err := tcp.SyscallConn(); err == nil {
			return &fair{TCPConn: tcp, server: l.server, raw: raw, stranger: newStranger(l.places)}, nil
		}
	}
	return c, err
}
