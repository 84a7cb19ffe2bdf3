package conn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A client may send limits.MaxPreRequestBytes before each request. One byte more resets its
// connection.
func TestBudgetBeforeARequest(t *testing.T) {
	for _, handshakes := range []bool{false, true} {
		group, n := newGroup()
		c, client := pair(t, group, handshakes)
		go client.Write(make([]byte, 2*limits.MaxPreRequestBytes+1))
		for range 2 {
			if _, err := io.CopyN(io.Discard, c, limits.MaxPreRequestBytes); err != nil {
				t.Fatal(err)
			}
			c.BeginRequest()
			c.EndRequest()
		}
		if n.overrun.Load() != 0 {
			t.Fatal("reset within its budget")
		}
		client.Write(make([]byte, limits.MaxPreRequestBytes))
		_, err := io.Copy(io.Discard, c)
		if !errors.Is(err, errOverrun) || n.overrun.Load() != 1 || n.closed.Load() != 1 {
			t.Errorf("handshakes %v: %v, %d overruns, closed %d times", handshakes, err, n.overrun.Load(), n.closed.Load())
		}
		if _, err := io.Copy(io.Discard, client); !isReset(err) {
			t.Errorf("the client sees %v, want a reset", err)
		}
	}
}

// freeSlots returns how many slots of limits.Authentication are free.
func freeSlots() (n int) {
	for limits.Authentication.TryAcquire() {
		n++
	}
	for range n {
		limits.Authentication.Release()
	}
	return n
}

// readPart has client send a byte of its handshake and reads it, so that c has a slot.
func readPart(t *testing.T, c *Conn, client net.Conn) {
	t.Helper()
	io.WriteString(client, "x")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := freeSlots(); got != limits.MaxExpensive-1 {
		t.Fatalf("%d slots are free after a part of a handshake, want all but one", got)
	}
}

// A TLS handshake has a slot of limits.Authentication while there is something to compute, and
// gives it back on every path.
func TestHandshakeSlot(t *testing.T) {
	for name, release := range map[string]func(c *Conn, client *net.TCPConn){
		"next read":     func(c *Conn, _ *net.TCPConn) { c.SetReadDeadline(aLongTimeAgo); c.Read(make([]byte, 1)) },
		"end of stream": func(c *Conn, client *net.TCPConn) { client.CloseWrite(); c.Read(make([]byte, 1)) },
		"request":       func(c *Conn, _ *net.TCPConn) { c.BeginRequest() },
		"write":         func(c *Conn, _ *net.TCPConn) { io.WriteString(c, "x") },
		"Close":         func(c *Conn, _ *net.TCPConn) { c.Close() },
		"CloseBy":       func(c *Conn, _ *net.TCPConn) { c.CloseBy(time.Now()) },
		"CloseNow":      func(c *Conn, _ *net.TCPConn) { c.CloseNow() },
		"Abort":         func(c *Conn, _ *net.TCPConn) { c.Abort() },
	} {
		group, _ := newGroup()
		c, client := pair(t, group, true)
		readPart(t, c, client)
		release(c, client)
		if got := freeSlots(); got != limits.MaxExpensive {
			t.Errorf("%s: %d slots are free, want %d", name, got, limits.MaxExpensive)
		}
	}
}

// A client that does not read keeps no slot, however much is sent to it during its handshake.
func TestHandshakeThatIsNotRead(t *testing.T) {
	group, _ := newGroup()
	c, client := pair(t, group, true)
	readPart(t, c, client)
	go c.Write(make([]byte, 32<<20))
	eventually(t, "the slot is free", func() bool { return freeSlots() == limits.MaxExpensive })
	c.Abort()
}

// A connection without TLS, or with a request before, needs no slot.
func TestNoSlotNeeded(t *testing.T) {
	group, _ := newGroup()
	for _, handshakes := range []bool{false, true} {
		c, client := pair(t, group, handshakes)
		if handshakes {
			c.BeginRequest()
			c.EndRequest()
		}
		io.WriteString(client, "x")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if got := freeSlots(); got != limits.MaxExpensive {
			t.Errorf("handshakes %v: %d slots are free", handshakes, got)
		}
	}
}

// takeSlots takes all slots. The function that it returns gives them back.
func takeSlots(t *testing.T) (giveBack func()) {
	t.Helper()
	for range limits.MaxExpensive {
		if !limits.Authentication.TryAcquire() {
			t.Fatal("a slot is missing")
		}
	}
	return sync.OnceFunc(func() {
		for range limits.MaxExpensive {
			limits.Authentication.Release()
		}
	})
}

// While a read waits for a slot, its connection may be closed, or the request begin for
// which net/http's reader in the background reads.
func TestWhileWaitingForASlot(t *testing.T) {
	for name, tt := range map[string]struct {
		do     func(*Conn)
		closed bool
	}{
		"Abort":        {(*Conn).Abort, true},
		"BeginRequest": {(*Conn).BeginRequest, false},
	} {
		giveBack := takeSlots(t)
		defer giveBack()
		group, _ := newGroup()
		c, client := pair(t, group, true)
		io.WriteString(client, "x")
		read := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		select {
		case err := <-read:
			t.Fatalf("read without a slot: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		tt.do(c)
		if !tt.closed {
			giveBack()
		}
		select {
		case err := <-read:
			if errors.Is(err, net.ErrClosed) != tt.closed {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: Read still waits for a slot", name)
		}
		giveBack()
		if got := freeSlots(); got != limits.MaxExpensive {
			t.Errorf("%s: %d slots are free, want %d", name, got, limits.MaxExpensive)
		}
	}
}

// A read that gets its slot just before the connection's context ends does not keep it while the client is given
// time to read.
func TestSlotWhileClosing(t *testing.T) {
	group, _ := newGroup()
	c, client := pair(t, group, true)
	if _, err := c.Write(make([]byte, responseSize)); err != nil {
		t.Fatal(err)
	}
	cancel := c.cancel
	c.cancel = sync.OnceFunc(func() {
		readPart(t, c, client)
		cancel()
	})
	c.CloseBy(time.Now().Add(time.Minute))
	if got := freeSlots(); got != limits.MaxExpensive {
		t.Errorf("%d slots are free, want %d", got, limits.MaxExpensive)
	}
	c.Abort()
}

// What was received together is not all worked on with one slot, if something was written
// in between.
func TestSlotForTheRest(t *testing.T) {
	group, _ := newGroup()
	c, client := pair(t, group, true)
	io.WriteString(client, "xy")
	for _, want := range []string{"x", "y"} {
		got := make([]byte, 1)
		if _, err := c.Read(got); err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
		if got := freeSlots(); got != limits.MaxExpensive-1 {
			t.Errorf("%d slots are free, want all but one", got)
		}
		io.WriteString(c, "z")
		if got := freeSlots(); got != limits.MaxExpensive {
			t.Errorf("%d slots are free after a write", got)
		}
	}
}

func TestEvictable(t *testing.T) {
	group, _ := newGroup()
	c, _ := pair(t, group, false)
	check := func(when string, want bool) {
		t.Helper()
		if _, ok := c.Evictable(); ok != want {
			t.Errorf("%s: evictable %v; want %v", when, ok, want)
		}
	}
	check("before a request", true)
	before, _ := c.Evictable()
	c.BeginRequest()
	check("during a request", false)
	c.EndRequest()
	check("after a request that was refused", true)
	if since, _ := c.Evictable(); !since.After(before) {
		t.Error("the time since which it is idle is that of before the request")
	}
	c.BeginRequest()
	c.MarkAuthorized()
	check("during a request that was accepted", false)
	c.EndRequest()
	check("after it", false)
}

// Interrupt ends the wait for a request, but never one of net/http.
func TestInterrupt(t *testing.T) {
	group, _ := newGroup()
	c, client := pair(t, group, false)
	c.Interrupt()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after an interrupt: %v", err)
	}
	c.MarkHandedOff() // An interrupt just before does not count either.
	c.Interrupt()
	io.WriteString(client, "x")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("after the handoff: %v", err)
	}
}
