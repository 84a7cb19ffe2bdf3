package http1

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// settle waits until a scraper has taken what was sent to it, so that the kernel holds
// nothing for it but what is on its way. It reports whether that was so before by, and
// before more than limits.MaxUndrained were waited for that came later: otherwise the
// connection is to be reset, or the kernel would hold on to what nobody reads.
func (s *Server) settle(raw syscall.RawConn, by time.Time) bool {
	if unsent(raw) == 0 {
		return true
	}
	place := s.slow.enter()
	defer s.slow.leave(place)
	const longest = 50 * time.Millisecond
	for pause := time.Millisecond; time.Now().Before(by); pause = min(2*pause, longest) {
		time.Sleep(pause)
		if unsent(raw) == 0 {
			return true
		}
		if place.Value.(*taker).over.Load() {
			break
		}
	}
	if s.NotTaken != nil {
		s.NotTaken()
	}
	return false
}

// unsent returns how many bytes wait in the kernel for the other side to take what
// came before them; none where the connection has ended.
func unsent(raw syscall.RawConn) (n int) {
	raw.Control(func(fd uintptr) { n, _ = rawsys.Unsent(int(fd)) })
	return n
}

// closedBehind reports whether the other side of fd has closed the connection, be it
// behind bytes that nobody has read yet.
func closedBehind(fd uintptr) bool {
	events, err := rawsys.Poll(int(fd), unix.POLLRDHUP)
	return err != nil || events != 0
}

// hungUp is closedBehind for a connection that may be closed on this side.
func hungUp(raw syscall.RawConn) (is bool) {
	err := raw.Control(func(fd uintptr) { is = closedBehind(fd) })
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
	if f := fairOf(c); f != nil && !s.settle(f.raw, time.Now().Add(limits.WriteTimeout)) {
		reset(f.TCPConn)
	}
}

// Reset ends a connection of Fair or Listen at once, and has the kernel forget what the
// scraper did not take. It reports false for others.
func Reset(c net.Conn) bool {
	f := fairOf(c)
	if f != nil {
		f.stranger.end()
		reset(f.TCPConn)
	}
	return f != nil
}

// fairOf returns the connection that c is, or is over; nil if that is none of Fair or
// Listen.
func fairOf(c net.Conn) *fair {
	for {
		switch conn := c.(type) {
		case *fair:
			return conn
		case interface{ NetConn() net.Conn }: // as TLS is over another
			c = conn.NetConn()
		default:
			return nil
		}
	}
}
