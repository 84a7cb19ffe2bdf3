package server

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A connection on which a request for net/http arrives goes there with every byte of it,
// wherever it is cut.
func TestHandoff(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var requests []string
	s := start(t, Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, r.Method+r.URL.String())
	})}, nil)
	const all = fastRequest + "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n" + fastRequest +
		"HEAD /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	for cut := range len(all) {
		mu.Lock()
		requests = nil
		mu.Unlock()
		c := s.dial()
		io.WriteString(c, all[:cut])
		if cut >= len(fastRequest) {
			c.r.Peek(1) // After the first response, the rest arrives on its own.
		}
		io.WriteString(c, all[cut:])
		io.Copy(io.Discard, c.r)
		mu.Lock()
		if got := strings.Join(requests, " "); got != "GET/a POST/b GET/a HEAD/c" {
			t.Errorf("cut at %d: %s", cut, got)
		}
		mu.Unlock()
	}
	eventually(t, "no connection is left", func() bool { return s.table.len() == 0 })
}

// Connections are still handed off after the listener has failed.
func TestHandoffAfterTheListener(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	s := start(t, Config{}, l)
	first, second := s.dial(), s.dial()
	first.wantStatus(t, fastRequest, http.StatusOK)
	second.wantStatus(t, fastRequest, http.StatusOK)
	l.Close()
	<-s.ended
	first.wantStatus(t, slowRequest, http.StatusOK)
	first.wantStatus(t, fastRequest, http.StatusOK)
	second.wantStatus(t, fastRequest, http.StatusOK)
	second.wantStatus(t, slowRequest, http.StatusOK)
}

// An interrupt that comes while a request is served does not keep the hang-up of its client
// from being noticed, and does not end the connection.
func TestInterruptDuringARequest(t *testing.T) {
	t.Parallel()
	arrived, ended := make(chan struct{}), make(chan struct{})
	s := start(t, Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
			close(ended)
		case <-arrived:
		}
	})}, nil)
	interrupt := func() {
		time.Sleep(2 * limits.HangUpCheckDelay)
		for _, c := range s.table.all() {
			c.Interrupt()
		}
		time.Sleep(2 * limits.HangUpCheckDelay)
	}
	c := s.dial()
	io.WriteString(c, fastRequest)
	<-arrived
	interrupt()
	arrived <- struct{}{}
	c.wantStatus(t, "", http.StatusOK)
	io.WriteString(c, fastRequest)
	<-arrived
	interrupt()
	c.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the hang-up was not noticed")
	}
}
