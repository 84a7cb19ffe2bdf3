package scrape

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// If a response says that its connection closes, Aegis closes it too: the service reads EOF
// and gets the next request on another connection.
func TestConnectionCloseIsFollowed(t *testing.T) {
	bodies := []struct{ name, text, body string }{
		{"no body", "Content-Length: 0\r\n\r\n", ""},
		{"length", "Content-Length: 4\r\n\r\nx 1\n", "x 1\n"},
		{"chunked", chunkedCoding + "\r\n4\r\nx 1\n\r\n0\r\n\r\n", "x 1\n"},
		{"large, length", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(largeBody), largeBody), largeBody},
		{"large, chunked", fmt.Sprintf("%s\r\n%x\r\n%s\r\n0\r\n\r\n", chunkedCoding, len(largeBody), largeBody), largeBody},
	}
	for _, field := range []string{
		"Connection: close",
		"connection:CLOSE",
		"Connection: keep-alive, close",
		"Connection: close, keep-alive",
		"Connection: keep-alive\r\nConnection: close",
		"Connection: close\r\nConnection: keep-alive",
	} {
		for _, b := range bodies {
			t.Run(fmt.Sprintf("%q, %s", field, b.name), func(t *testing.T) {
				checkConnectionClose(t, okLine+plainType+field+"\r\n"+b.text, b.body)
			})
			if t.Failed() {
				return // Each of the others would wait, too.
			}
		}
	}
}

// checkConnectionClose scrapes a service twice that sends response and waits for Aegis to close
// the connection.
func checkConnectionClose(t *testing.T, response, body string) {
	t.Helper()
	closed := make(chan error, 2)
	s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
		io.WriteString(c, response)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err := c.Read(make([]byte, 1))
		closed <- err
		return false
	})
	c := newClient(t)
	for range 2 {
		if got, _, err := s.scrape(t, c); got != body || err != nil {
			t.Fatalf("%d bytes, %v; want %d bytes", len(got), err, len(body))
		}
		if err := <-closed; err != io.EOF {
			t.Fatalf("after its response the service reads %v, want EOF", err)
		}
	}
	if n := s.accepted.Load(); n != 2 {
		t.Errorf("%d connections for 2 scrapes, want 2", n)
	}
}
