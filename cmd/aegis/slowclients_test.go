package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// smallWindow dials for a client with next to no receive buffer: what it does not read stays
// with Aegis.
var smallWindow = net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) })
}}

// Aegis waits for limits.MaxUndrained clients that do not read their response. It resets the
// connections of the others.
func TestClientsThatDoNotRead(t *testing.T) {
	const more = 50
	_, addr := startAegis(t, sampleDirectory(t))
	fds := make([]unix.PollFd, limits.MaxUndrained+more)
	responses := make([]*bufio.Reader, len(fds))
	for i := range fds {
		c, err := smallWindow.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { fds[i].Fd = int32(fd) })
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		io.WriteString(c, get("/metrics", "Pragma: no-cache")) // for net/http
		// One after another: if too many arrive at once, some get 503, which is small.
		responses[i] = bufio.NewReaderSize(c, 16)
		if head, err := responses[i].Peek(13); string(head) != "HTTP/1.1 200 " {
			t.Fatalf("client %d: %q, %v", i, head, err)
		}
	}
	reset := 0
	eventually(t, func() error {
		if _, err := unix.Poll(fds, 0); err != nil {
			return err
		}
		reset = 0
		for _, fd := range fds {
			if fd.Revents&unix.POLLERR != 0 {
				reset++
			}
		}
		if reset < more {
			return fmt.Errorf("%d connections were reset, want %d", reset, more)
		}
		return nil
	})
	complete := 0
	for _, r := range responses {
		if resp, err := http.ReadResponse(r, nil); err == nil {
			if _, err := io.Copy(io.Discard, resp.Body); err == nil {
				complete++
			}
		}
	}
	if reset != more || complete != limits.MaxUndrained {
		t.Errorf("%d connections were reset and %d responses were complete, want %d and %d", reset, complete, more, limits.MaxUndrained)
	}
}

// The kernel holds little of a response that a client does not read. The limit is an option
// of the listener, which its connections inherit.
func TestUnsentBytesAreLimited(t *testing.T) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	startOn(t, l, t.TempDir())
	dial(t, l.Addr().String())
	waitFor(t, "the limit of unsent bytes", func() (set bool) {
		raw.Control(func(fd uintptr) {
			n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
			set = err == nil && n == limits.NotSentLowat
		})
		return set
	})
}
