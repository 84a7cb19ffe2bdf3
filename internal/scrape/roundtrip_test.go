package scrape

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    handler
	}{
		{"before the head", respondAndHang("")},
		{"in the head", respondAndHang("HTTP/1.1 200")},
		{"in the body", respondAndHang(okLine + plainType + "Content-Length: 9\r\n\r\nx 1\n")},
		{"in a large body", respondAndHang(okLine + plainType + "Content-Length: 9999999\r\n\r\nx 1\n")},
		{"in a chunk", respondAndHang(okLine + plainType + chunkedCoding + "\r\n9\r\nx 1\n")},
		{"a byte now and then", func(c net.Conn, _ int) bool {
			for {
				if _, err := io.WriteString(c, "H"); err != nil {
					return false
				}
				time.Sleep(5 * time.Millisecond)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), tt.h)
			c := newClient(t)
			_, _, err := scrapeSocket(t.Context(), c, s.socket(t), newRequest(t, 50*time.Millisecond))
			if !errors.Is(err, ErrTimeout) {
				t.Errorf("error %v, want %v", err, ErrTimeout)
			}
			if n := c.Connections(); n != 0 {
				t.Errorf("%d connections left open", n)
			}
		})
	}
}

// Nothing waits for the service any more once the scraper has disconnected.
func TestCancel(t *testing.T) {
	for name, start := range map[string]string{
		"before the head": "",
		"in the body":     okLine + plainType + "Content-Length: 9\r\n\r\nx 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := startService(t, t.TempDir(), respondAndHang(start))
			c := newClient(t)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-s.requests; cancel() }()
			_, _, err := scrapeSocket(ctx, c, s.socket(t), newRequest(t, time.Minute))
			if !errors.Is(err, ErrCanceled) {
				t.Errorf("error %v, want %v", err, ErrCanceled)
			}
			if n := c.Connections(); n != 0 {
				t.Errorf("%d connections left open", n)
			}
		})
	}
}

// If the scraper disconnects while it is sent the response, the connection to the service
// is closed: the cancellation may take effect late, and would end the next scrape.
func TestCancelAfterResponse(t *testing.T) {
	s := startService(t, t.TempDir(), respond(okResponse("x 1\n")))
	c := newClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := c.Do(ctx, s.socket(t), newRequest(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.WriteTo(io.Discard)
	resp.Close()
	if n := c.Connections(); n != 1 {
		t.Errorf("%d connections kept, want 1: the response was complete", n)
	}
}

// If the scraper disconnects while Aegis dials, that is why the scrape fails, whatever comes
// of the dial.
func TestCancelWhileDialing(t *testing.T) {
	listening := startService(t, t.TempDir(), respondAndHang(""))
	stale := startService(t, t.TempDir(), respondAndHang(""))
	stale.Listener.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, s := range map[string]*fakeService{"a service listens": listening, "nobody listens": stale} {
		t.Run(name, func(t *testing.T) {
			c, socket := newClient(t), s.socket(t)
			for range 100 {
				if _, err := c.Do(canceled, socket, newRequest(t, time.Minute)); !errors.Is(err, ErrCanceled) {
					t.Fatalf("error %v, want %v", err, ErrCanceled)
				}
			}
		})
	}
}
