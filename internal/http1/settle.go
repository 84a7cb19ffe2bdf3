package http1

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/nowait"
)

// settle waits until a scraper has taken what was sent to it, so that the kernel holds
// nothing for it but what is on its way. It reports whether that was so before by, and
// false at once where limits.Slow are waited for already: the connection is to be
// reset then, or the kernel would hold on to what nobody reads.
func (s *Server) settle(raw syscall.RawConn, by time.Time) bool {
	if unsent(raw) == 0 {
		return true
	}
	defer s.slow.Add(-1)
	if s.slow.Add(1) > limits.Slow {
		return false
	}
	const longest = 50 * time.Millisecond
	for pause := time.Millisecond; time.Now().Before(by); pause = min(2*pause, longest) {
		time.Sleep(pause)
		if unsent(raw) == 0 {
			return true
		}
	}
	return false
}

// unsent returns how many bytes wait in the kernel for the other side to take what
// came before them; none where the connection has ended.
func unsent(raw syscall.RawConn) (n int) {
	raw.Control(func(fd uintptr) { n, _ = nowait.Unsent(int(fd)) })
	return n
}

// hungUp reports whether the other side has closed the connection.
func hungUp(raw syscall.RawConn) (is bool) {
	err := raw.Control(func(fd uintptr) {
		events, err := nowait.Poll(int(fd), unix.POLLRDHUP)
		is = err != nil || events != 0
	})
	return is || err != nil
}

// reset closes tcp and has the kernel forget what the scraper did not take.
func reset(tcp *net.TCPConn) {
	tcp.SetLinger(0)
	tcp.Close()
}

// Settle is for who serves a connection of Fair or Listen, between two requests: it
// waits until the scraper has taken the answer, and ends the connection if it does not.
func (s *Server) Settle(c net.Conn) {
	for {
		switch conn := c.(type) {
		case *fair:
			if !s.settle(conn.raw, time.Now().Add(limits.WriteTimeout)) {
				reset(conn.TCPConn)
			}
			return
		case interface{ NetConn() net.Conn }: // as TLS is over another
			c = conn.NetConn()
		default:
			return
		}
	}
}
