package conn

import (
	"io"
	"net"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

func TestPeerClosed(t *testing.T) {
	group, _ := newGroup()
	for name, closeIt := range map[string]func(c *Conn, client *net.TCPConn){
		"the client closes": func(_ *Conn, client *net.TCPConn) { client.Close() },
		"the client sends and closes": func(_ *Conn, client *net.TCPConn) {
			io.WriteString(client, "x")
			client.Close()
		},
		"the client resets": func(_ *Conn, client *net.TCPConn) {
			client.SetLinger(0)
			client.Close()
		},
		"this side closes": func(c *Conn, _ *net.TCPConn) { c.CloseNow() },
	} {
		c, client := pair(t, group, false)
		io.WriteString(client, "x")
		if c.peerClosed() {
			t.Errorf("%s: closed before", name)
		}
		closeIt(c, client)
		eventually(t, name, c.peerClosed)
	}
}

// The context ends after a hang-up during a request, even if the client sent its next request
// before.
func TestHangUp(t *testing.T) {
	group, _ := newGroup()
	c, client := pair(t, group, false)
	io.WriteString(client, "the next request")
	c.BeginRequest()
	if c.Context().Err() != nil {
		t.Fatal("the context has ended before the hang-up")
	}
	client.Close()
	select {
	case <-c.Context().Done():
	case <-time.After(10 * time.Second):
		t.Error("the context has not ended")
	}
	c.EndRequest()
}

// The context outlives requests, and ends with the connection.
func TestContextEndsWithTheConnection(t *testing.T) {
	group, _ := newGroup()
	for name, closeIt := range map[string]func(*Conn){
		"Close":    func(c *Conn) { c.Close() },
		"Abort":    (*Conn).Abort,
		"CloseNow": (*Conn).CloseNow,
	} {
		c, _ := pair(t, group, false)
		c.BeginRequest()
		time.Sleep(2 * limits.HangUpCheckDelay)
		c.EndRequest()
		if c.Context().Err() != nil {
			t.Errorf("%s: the context has ended before", name)
		}
		if closeIt(c); c.Context().Err() == nil {
			t.Errorf("%s: the context has not ended", name)
		}
	}
}
