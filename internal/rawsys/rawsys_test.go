package rawsys

import (
	"bytes"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pair returns two connected, non-blocking Unix sockets.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestSendAndRead(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 64)
	if n, err := Read(b, buf); n != -1 || err != unix.EAGAIN {
		t.Errorf("Read of an empty socket: %d, %v, want -1, %v", n, err, unix.EAGAIN)
	}
	if n, err := Send(a, [][]byte{[]byte("one "), nil, []byte("two "), []byte("three")}, 0); n != 13 || err != nil {
		t.Errorf("Send: %d, %v, want 13", n, err)
	}
	if n, err := Write(a, []byte(" four")); n != 5 || err != nil {
		t.Errorf("Write: %d, %v, want 5", n, err)
	}
	if n, err := Read(b, buf); err != nil || string(buf[:max(n, 0)]) != "one two three four" {
		t.Errorf("Read: %q, %v", buf[:max(n, 0)], err)
	}
	if n, err := Send(a, nil, 0); n != 0 || err != nil {
		t.Errorf("Send of no parts: %d, %v, want 0", n, err)
	}
	if _, err := Send(a, make([][]byte, Parts+1), 0); err != unix.EMSGSIZE {
		t.Errorf("Send of too many parts: %v, want %v", err, unix.EMSGSIZE)
	}
	unix.Shutdown(a, unix.SHUT_WR)
	if n, err := Read(b, buf); n != 0 || err != nil {
		t.Errorf("Read at EOF: %d, %v, want 0", n, err)
	}
	if n, err := Read(b, nil); n != 0 || err != nil {
		t.Errorf("Read into an empty buffer: %d, %v, want 0", n, err)
	}
}

func TestFullSocket(t *testing.T) {
	a, b := pair(t)
	much := [][]byte{bytes.Repeat([]byte("x"), 1<<20)}
	sent := 0
	for {
		n, err := Send(a, much, 0)
		if err == unix.EAGAIN {
			break
		}
		if err != nil || n <= 0 {
			t.Fatalf("Send: %d, %v", n, err)
		}
		sent += n
	}
	if _, err := Write(a, much[0]); err != unix.EAGAIN {
		t.Errorf("Write: %v, want %v", err, unix.EAGAIN)
	}
	read, buf := 0, make([]byte, 1<<16)
	for read < sent {
		n, err := Read(b, buf)
		if err != nil {
			t.Fatalf("after %d of %d: %v", read, sent, err)
		}
		read += n
	}
	unix.Shutdown(b, unix.SHUT_RD)
	if _, err := Send(a, much, 0); err != unix.EPIPE {
		t.Errorf("Send to a closed peer: %v, want %v", err, unix.EPIPE)
	}
}

func TestSplice(t *testing.T) {
	a, b := pair(t)
	c, d := pair(t)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pipe[0]); unix.Close(pipe[1]) })
	splice := func(from, to, n, want int, wantErr error) {
		t.Helper()
		if got, err := Splice(from, to, n); got != want || err != wantErr {
			t.Errorf("%d, %v, want %d, %v", got, err, want, wantErr)
		}
	}
	splice(b, pipe[1], 10, -1, unix.EAGAIN)
	Write(a, []byte("one two"))
	splice(b, pipe[1], 3, 3, nil)
	splice(b, pipe[1], 10, 4, nil)
	splice(pipe[0], c, 10, 7, nil)
	splice(pipe[0], c, 10, -1, unix.EAGAIN)
	buf := make([]byte, 10)
	if n, err := Read(d, buf); err != nil || string(buf[:max(n, 0)]) != "one two" {
		t.Errorf("%q, %v", buf[:max(n, 0)], err)
	}
	unix.Shutdown(a, unix.SHUT_WR)
	splice(b, pipe[1], 10, 0, nil)
}

func TestPoll(t *testing.T) {
	a, b := pair(t)
	events := func(want int16) {
		t.Helper()
		if got, err := Poll(b, unix.POLLIN|unix.POLLRDHUP); got != want || err != nil {
			t.Errorf("Poll: %#x, %v, want %#x", got, err, want)
		}
	}
	events(0)
	Write(a, []byte("x"))
	events(unix.POLLIN)
	unix.Shutdown(a, unix.SHUT_WR)
	events(unix.POLLIN | unix.POLLRDHUP)
}

func TestUnsent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if n, err := Unsent(int(fd)); n != 0 || err != nil {
			t.Errorf("before sending: %d, %v, want 0", n, err)
		}
		// The peer does not read, so the buffers fill up.
		for much := [][]byte{make([]byte, 1<<20)}; ; {
			if _, err := Send(int(fd), much, 0); err == unix.EAGAIN {
				break
			} else if err != nil {
				t.Error(err)
				break
			}
		}
		if n, err := Unsent(int(fd)); n <= 0 || err != nil {
			t.Errorf("with full buffers: %d, %v, want more than 0", n, err)
		}
		peer.Close() // It has not read the data, so this resets the connection.
		if n, err := Unsent(int(fd)); n != 0 || err != nil {
			t.Errorf("after a reset: %d, %v, want 0", n, err)
		}
	})
	a, _ := pair(t)
	if _, err := Unsent(a); err == nil {
		t.Error("on a Unix socket: no error")
	}
}
