package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// blocking returns a handler that serves /slow only once release is closed, and in the
// meantime sends to arrived. It serves other paths at once.
func blocking() (handler http.Handler, arrived, release chan struct{}) {
	arrived, release = make(chan struct{}, 10), make(chan struct{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
		io.WriteString(w, "ok")
	}), arrived, release
}

// startDrain starts a drain and waits until no more connections are accepted.
func (s *testServer) startDrain() (cut chan int) {
	s.t.Helper()
	cut = make(chan int, 1)
	go func() { cut <- s.Drain() }()
	s.waitServed()
	return cut
}

// waitServed waits until Serve returns nil.
func (s *testServer) waitServed() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Error(err)
		}
	case <-time.After(10 * time.Second):
		s.t.Fatal("Serve has not returned")
	}
}

// wantCut waits until the drain is over and checks how many requests it cut off.
func (s *testServer) wantCut(cut chan int, want int) {
	s.t.Helper()
	select {
	case got := <-cut:
		if got != want {
			s.t.Errorf("%d requests were cut off, want %d", got, want)
		}
	case <-time.After(15 * time.Second):
		s.t.Fatal("the drain has not ended")
	}
	if n := s.table.len(); n != 0 {
		s.t.Errorf("%d connections are still open", n)
	}
}

// A drain serves the requests in flight, and those of clients that use their kept
// connection meanwhile, and tells them that the connection ends. It closes idle connections
// and those without a complete request.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"plain": "", "TLS": withTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler, arrived, release := blocking()
			c := Config{Handler: handler}
			if file != "" {
				c.Auth = authenticator(t, file)
			}
			s := start(t, c, nil)
			dial := s.dial
			if file != "" {
				dial = func() client { return s.dialTLS() }
			}
			idle := []client{s.dial(), dial(), dial(), dial()}
			io.WriteString(idle[1], "GET /a HT")
			idle[2].wantStatus(t, fastRequest, http.StatusOK)
			idle[3].wantStatus(t, slowRequest, http.StatusOK)
			type exchange struct {
				c       client
				request string
			}
			busy := []exchange{{dial(), fastRequest}, {dial(), slowRequest}}
			for _, b := range busy {
				if resp := b.c.wantStatus(t, b.request, http.StatusOK); resp != nil && resp.Close {
					t.Error("a connection ends before the drain")
				}
			}
			slow := []exchange{{dial(), fastRequest}, {dial(), slowRequest}}
			for _, b := range slow {
				io.WriteString(b.c, strings.Replace(b.request, "/a", "/slow", 1))
				<-arrived
			}
			cut := s.startDrain()
			// Between the two kinds: a connection of http1 that net/http takes over now.
			busy[0].request = slowRequest
			for _, b := range busy {
				if resp := b.c.wantStatus(t, b.request, http.StatusOK); resp != nil && !resp.Close {
					t.Error("the response does not tell that the connection ends")
				}
			}
			close(release)
			for _, b := range slow {
				b.c.wantStatus(t, "", http.StatusOK)
			}
			for _, c := range idle {
				c.wantEnd(t, "idle connection")
			}
			s.wantCut(cut, 0)
		})
	}
}

// A request whose password is still being verified counts as one in flight.
func TestDrainWaitsForAPassword(t *testing.T) {
	s := start(t, Config{Auth: authenticator(t, users(t, bcrypt.MinCost))}, nil)
	for range limits.MaxExpensive {
		if !limits.Authentication.TryAcquire() {
			t.Fatal("a slot is missing")
		}
	}
	c := s.dial()
	io.WriteString(c, "GET /a HTTP/1.1\r\nHost: h\r\n"+userHeader+"\r\n")
	eventually(t, "the request is in flight", func() bool { return s.Requests() == 1 })
	cut := s.startDrain()
	time.Sleep(limits.DrainIdleTimeout + 3*limits.DrainFlushTimeout)
	for range limits.MaxExpensive {
		limits.Authentication.Release()
	}
	c.wantStatus(t, "", http.StatusOK)
	s.wantCut(cut, 0)
}

// A drain ends after limits.DrainTimeout, whatever a handler does.
func TestDrainLatency(t *testing.T) {
	if os.Getenv("AEGIS_TEST_LATENCY") == "" {
		t.Skip("this test waits for limits.DrainTimeout; set AEGIS_TEST_LATENCY=1 to run it")
	}
	handler, arrived, release := blocking()
	defer close(release)
	s := start(t, Config{Handler: handler}, nil)
	for _, request := range []string{fastRequest, slowRequest} {
		io.WriteString(s.dial(), strings.Replace(request, "/a", "/slow", 1))
		<-arrived
	}
	s.wantCut(s.startDrain(), 2)
}

// Close ends requests as if their clients had hung up. It does not wait for a handler that
// ignores that, and leaves no goroutine behind once it returns.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	canceled, release := make(chan struct{}, 2), make(chan struct{})
	arrived := make(chan struct{}, 2)
	s := start(t, Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		canceled <- struct{}{}
		<-release
	})}, nil)
	var clients []client
	for _, request := range []string{fastRequest, slowRequest} {
		c := s.dial()
		io.WriteString(c, request)
		clients = append(clients, c)
		<-arrived
	}
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close waits for a handler")
	}
	for _, c := range clients {
		select {
		case <-canceled:
		case <-time.After(10 * time.Second):
			t.Fatal("a handler does not know of the end of its connection")
		}
		c.wantEnd(t, "after Close")
	}
	s.waitServed()
	close(release)
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}

// A connection that is accepted just when Close is called is closed too.
func TestCloseWhileAccepting(t *testing.T) {
	for range 20 {
		s := start(t, Config{}, nil)
		c := s.dial()
		s.Close()
		c.wantEnd(t, "after Close")
	}
}

// After Drain or Close, Serve closes the listeners and returns.
func TestServeAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(*Server){
		"Drain": func(s *Server) { s.Drain() },
		"Close": (*Server).Close,
	} {
		s := start(t, Config{}, nil)
		end(s.Server)
		s.waitServed()
		l := listen(t, "tcp", "127.0.0.1:0")
		if err := s.Serve([]net.Listener{l}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
			t.Errorf("%s: the listener is still open", name)
		}
	}
}

// Serve returns if a listener is closed under it.
func TestListenerFails(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	s := start(t, Config{}, l)
	l.Close()
	select {
	case err := <-s.ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Serve has not returned")
	}
}
