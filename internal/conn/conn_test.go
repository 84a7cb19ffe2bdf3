package conn

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// counts is how often each function of a Group was called.
type counts struct{ closed, slow, overrun atomic.Int32 }

func newGroup() (*Group, *counts) {
	n := new(counts)
	return &Group{
		OnClose:      func(*Conn) { n.closed.Add(1) },
		OnSlowClient: func(*Conn) { n.slow.Add(1) },
		OnOverrun:    func(*Conn) { n.overrun.Add(1) },
	}, n
}

// pair returns a connection of group over TCP and its client.
func pair(t *testing.T, group *Group, handshakes bool) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048) })
	}}
	client, err := small.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := group.New(accepted, handshakes)
	t.Cleanup(func() { client.Close(); c.CloseNow() })
	client.SetDeadline(time.Now().Add(20 * time.Second))
	return c, client.(*net.TCPConn)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happened that %s", what)
		}
	}
}

// isReset reports whether err means that the peer has reset the connection.
func isReset(err error) bool { return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) }

func TestPushBack(t *testing.T) {
	group, _ := newGroup()
	c, client := pair(t, group, false)
	io.WriteString(client, "world")
	client.CloseWrite()
	c.PushBack("hello ")
	first := make([]byte, 2)
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(c)
	if got := string(first) + string(rest); got != "hello world" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// Close lets the client read everything even while the client still sends; CloseNow lets it
// read what was sent; Abort does not.
func TestCloseKinds(t *testing.T) {
	for name, tt := range map[string]struct {
		close func(*Conn)
		reset bool
	}{
		"Close":    {func(c *Conn) { c.Close(); c.Close() }, false},
		"CloseNow": {(*Conn).CloseNow, false},
		"Abort":    {(*Conn).Abort, true},
	} {
		t.Run(name, func(t *testing.T) {
			group, n := newGroup()
			c, client := pair(t, group, false)
			io.WriteString(c, "bye")
			tt.close(c)
			if name == "Close" {
				io.WriteString(client, "a request that crosses with the close")
			}
			eventually(t, "the connection is closed", func() bool { return n.closed.Load() == 1 })
			got, err := io.ReadAll(client)
			if tt.reset != isReset(err) || !tt.reset && string(got) != "bye" {
				t.Errorf("client read %q, %v; want a reset: %v", got, err, tt.reset)
			}
			c.Close()
			c.Abort()
			if got := n.closed.Load(); got != 1 {
				t.Errorf("OnClose was called %d times", got)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("reading from a closed connection: %v", err)
			}
		})
	}
}

// A client that has closed its half of the connection reads everything, even if not all that it sent was read. The
// connection does not wait for anything else to come from it.
func TestCloseAfterHalfClose(t *testing.T) {
	group, n := newGroup()
	c, client := pair(t, group, false)
	io.WriteString(client, "a body that nobody reads")
	client.CloseWrite()
	eventually(t, "the half-close is seen", c.peerClosed)
	io.WriteString(c, "bye")
	c.Close()
	eventually(t, "the connection is closed", func() bool { return n.closed.Load() == 1 })
	if got, err := io.ReadAll(client); string(got) != "bye" || err != nil {
		t.Errorf("client read %q, %v", got, err)
	}
}

// Closing in several ways at once, while another goroutine reads, closes once.
func TestCloseRaces(t *testing.T) {
	for range 50 {
		group, n := newGroup()
		c, client := pair(t, group, true)
		io.WriteString(client, "x")
		read := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, c)
			read <- err
		}()
		go c.Close()
		go c.CloseBy(time.Now())
		go c.Abort()
		c.CloseNow()
		select {
		case <-read:
		case <-time.After(10 * time.Second):
			t.Fatal("Read still waits")
		}
		eventually(t, "OnClose is called", func() bool { return n.closed.Load() == 1 })
	}
}

func TestSourcePrefix(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1":              "192.0.2.1/32",
		"10.100.0.1:1":             "10.100.0.1/32",
		"[::ffff:192.0.2.1]:1":     "192.0.2.1/32",
		"[2001:db8:1:2:3::4]:1":    "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":         "fe80::/64",
		"[fda2:1:2:3:4::5]:1":      "fda2:1:2:3:4::5/128",
		"[fda2:1:2:3:4::5%eth0]:1": "fda2:1:2:3:4::5/128",
		"[::1]:1":                  "::/64",
		"@":                        "invalid Prefix",
	} {
		if got := SourcePrefix(remote).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}
