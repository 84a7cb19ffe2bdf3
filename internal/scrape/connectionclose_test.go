package scrape

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A service that announces the end of its connection sees that end, and gets the next request
// on another connection.
func TestConnectionCloseIsFollowed(t *testing.T) {
	large := strings.Repeat("x 1\n", limits.MaxBufferedBody/2)
	framings := map[string]func(body string) string{
		"length": func(body string) string {
			return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
		},
		"chunks": func(body string) string {
			return fmt.Sprintf("%s\r\n%x\r\n%s\r\n0\r\n\r\n", chunked, len(body), body)
		},
	}
	for _, field := range []string{"Connection: close", "connection:CLOSE", "Connection: keep-alive, close", "Connection: keep-alive\r\nConnection: close"} {
		for framing, framed := range framings {
			for _, body := range []string{"", "x 1\n", large} {
				if t.Failed() {
					return // Each of these waits for seconds to fail.
				}
				t.Run(fmt.Sprintf("%q, %s, %d bytes", field, framing, len(body)), func(t *testing.T) {
					response := ok + plain + field + "\r\n" + framed(body)
					after := make(chan error, 2)
					p := listen(t, t.TempDir(), func(c net.Conn, _ int) bool {
						io.WriteString(c, response)
						c.SetReadDeadline(time.Now().Add(2 * time.Second))
						_, err := c.Read(make([]byte, 1))
						after <- err
						return false
					})
					c := newClient(t)
					for range 2 {
						if got, _, err := p.scrape(t, c); got != body || err != nil {
							t.Fatalf("%d bytes and error %v, want the body of %d bytes", len(got), err, len(body))
						}
						if err := <-after; err != io.EOF {
							t.Fatalf("after its response the service reads %v, want EOF", err)
						}
					}
					if n := p.accepted.Load(); n != 2 {
						t.Errorf("%d connections for 2 scrapes, want 2", n)
					}
				})
			}
		}
	}
}
