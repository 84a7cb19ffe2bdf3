package http1

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A connection on which anything else comes goes to net/http with every byte of
// it, wherever it is cut.
func TestHandover(t *testing.T) {
	var log []string
	var mu sync.Mutex
	_, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		log = append(log, r.Method+r.URL.String()+string(body))
		mu.Unlock()
	})
	const all = here + "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" + here + "HEAD /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	for cut := range len(all) {
		mu.Lock()
		log = nil
		mu.Unlock()
		c := dial(t, addr)
		c.Conn.(*net.TCPConn).SetNoDelay(true)
		io.WriteString(c, all[:cut])
		if cut >= len(here) {
			c.r.Peek(1) // It is answered, so the rest comes on its own.
		}
		io.WriteString(c, all[cut:])
		io.Copy(io.Discard, c.r)
		mu.Lock()
		if got := strings.Join(log, " "); got != "GET/a POST/babc GET/a HEAD/c" {
			t.Errorf("cut at %d: %s", cut, got)
		}
		mu.Unlock()
	}
}

// Once the listener is closed, what is for net/http is still handed over.
func TestHandoverAfterTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), Log: slog.New(slog.DiscardHandler)}
	other := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	served := make(chan error)
	go func() { served <- other.Serve(s.Listen(l)) }()
	first, second := dial(t, l.Addr().String()), dial(t, l.Addr().String())
	first.ask(t, here)
	second.ask(t, here)
	l.Close()
	s.Ended()
	if got := first.ask(t, there); got.status != http.StatusTeapot {
		t.Errorf("after the end of the listener: %+v", got)
	}
	if got := second.ask(t, here); got.status != http.StatusOK {
		t.Errorf("after the end of the listener: %+v", got)
	}
	second.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("served until %v", err)
	}
	other.Close()
}

// A stop does not disturb a connection that net/http is about to take.
func TestShutdownDuringHandover(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Log: slog.New(slog.DiscardHandler)}
	rest := s.Listen(l)
	c := dial(t, l.Addr().String())
	io.WriteString(c, there)
	eventually(t, "it is handed over", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, state := range s.conns {
			return state == handedOver
		}
		return false
	})
	// Long enough that its deadlines are set by then.
	stopping, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(stopping); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before it is taken: %v", err)
	}
	taken, err := rest.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	io.WriteString(c, here)
	got := make([]byte, len(there)+len(here))
	if n, err := io.ReadFull(taken, got); err != nil || string(got) != there+here {
		t.Errorf("%q, %v", got[:n], err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
