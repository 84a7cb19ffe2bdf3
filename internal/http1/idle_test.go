package http1

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A connection that is idle for IdleTimeout is closed, however many requests it has made.
func TestIdleConnectionIsClosed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &Server{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x 1\n") }),
		Log:         slog.New(slog.DiscardHandler),
		IdleTimeout: 500 * time.Millisecond,
	}
	s.Listen(l)
	defer s.Close()
	for requests := 1; requests <= 3; requests++ {
		c := dial(t, l.Addr().String())
		for range requests {
			if got := c.ask(t, here); got.err != nil {
				t.Fatal(got.err)
			}
		}
		// Sooner than a connection without a request is closed.
		c.SetReadDeadline(time.Now().Add(limits.ReadHeaderTimeout / 2))
		if _, err := c.r.ReadByte(); err != io.EOF {
			t.Errorf("idle after %d requests: the client reads %v, want EOF", requests, err)
		}
	}
}

// A client that has made a request may be idle for longer than a first request may take.
func TestIdleConnectionIsKept(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test waits for a deadline")
	}
	t.Parallel()
	_, addr := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x 1\n") })
	c := dial(t, addr)
	c.SetDeadline(time.Now().Add(3 * limits.ReadHeaderTimeout))
	for i := range 2 {
		time.Sleep(time.Duration(i) * (limits.ReadHeaderTimeout + time.Second))
		if got := c.ask(t, here); got.err != nil {
			t.Errorf("request %d: %v", i, got.err)
		}
	}
}
