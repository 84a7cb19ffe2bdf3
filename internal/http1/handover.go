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
	server *Server
	raw    syscall.RawConn
	read   []byte
	closed atomic.Bool
}

// Read returns first what was read already.
func (f *fair) Read(p []byte) (n int, err error) {
	if len(f.read) > 0 {
		n = copy(p, f.read)
		f.read = f.read[n:]
	} else {
		f.read = nil
		n, err = f.TCPConn.Read(p)
	}
	if n == len(p) {
		// There may be more, without end: a scraper that sends faster than it is
		// answered has the others wait for it only this long.
		runtime.Gosched()
	}
	return n, err
}

// Close closes the connection, when the scraper has taken what was sent, or some time
// after.
func (f *fair) Close() error {
	if f.closed.Swap(true) || hungUp(f.raw) {
		return f.TCPConn.Close()
	}
	go func() {
		if f.server.settle(f.raw, time.Now().Add(limits.AbortGrace)) {
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
	if f.server.lingering.Add(1) > limits.Slow {
		return
	}
	f.CloseWrite()
	f.SetReadDeadline(time.Now().Add(limits.Linger))
	io.CopyN(io.Discard, f.TCPConn, limits.RequestHead)
}

// Fair returns l with connections that let others have their turn: on one
// processor, a scraper that floods Aegis would take it from them.
func (s *Server) Fair(l net.Listener) net.Listener { return fairListener{l, s} }

type fairListener struct {
	net.Listener
	server *Server
}

// Accept returns the next connection.
func (l fairListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		if raw, err := tcp.SyscallConn(); err == nil {
			return &fair{TCPConn: tcp, server: l.server, raw: raw}, nil
		}
	}
	return c, err
}
