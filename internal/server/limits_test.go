package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// What a client sends without waiting for a response stays with the client.
func TestUnreadIsBounded(t *testing.T) {
	for name, request := range map[string]string{"http1": fastRequest, "net/http": slowRequest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hang := make(chan struct{})
			defer close(hang)
			s := start(t, Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/a" {
					<-hang
				}
			})}, nil)
			s.dial().wantStatus(t, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n", http.StatusOK) // It has begun to accept.
			c := s.dial()
			c.Conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
			sent, err := io.WriteString(c, request)
			for err == nil {
				c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				var n int
				n, err = c.Write(make([]byte, 4<<10))
				sent += n
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) || sent > 4*limits.RecvBufSize {
				t.Errorf("the server took %d bytes, then: %v", sent, err)
			}
		})
	}
}

// Of more than limits.MaxUndrained clients that do not read their responses, the first is
// disconnected, counted and logged.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	s := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Write(make([]byte, size))
	})}, nil)
	request := map[bool]string{true: fastRequest, false: slowRequest}
	var first client
	for i := range limits.MaxUndrained + 50 {
		c := s.dial()
		raw, err := c.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048) })
		io.WriteString(c, request[i%2 == 0])
		if i == 0 {
			first = c
		}
	}
	eventually(t, "a slow client is counted", func() bool { return s.metric("aegis_slow_client_disconnects_total") > 0 })
	s.waitLog("disconnecting clients that do not read their responses")
	if n := strings.Count(s.log.String(), "disconnecting clients"); n != 1 {
		t.Errorf("logged %d times within a minute, want once:\n%s", n, s.log)
	}
	if _, err := io.Copy(io.Discard, first); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the first client reads on: %v, want a reset", err)
	}
}

// A connection that sends more than a handshake needs is reset, and that is logged.
func TestEndlessHandshake(t *testing.T) {
	s := start(t, Config{Auth: authenticator(t, withTLS)}, nil)
	c := s.dial()
	const size = 16 << 10 // of a TLS record
	record := "\x16\x03\x01\x40\x00"
	io.WriteString(c, record+"\x01\x00\xf0\x00"+strings.Repeat("x", size-4)) // A ClientHello of 60 KiB.
	for range limits.MaxPreRequestBytes / size {
		io.WriteString(c, record+strings.Repeat("x", size))
	}
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		t.Error("the connection is still open")
	}
	s.waitLog("resetting connections whose clients send more than a request needs")
}

// A handler that panics is logged, and its connection ends.
func TestPanics(t *testing.T) {
	t.Parallel()
	handler := func(http.ResponseWriter, *http.Request) { panic("on purpose") }
	s := start(t, Config{Handler: http.HandlerFunc(handler)}, nil)
	for request, logged := range map[string]string{
		fastRequest: "panic while serving a request",
		slowRequest: "http: panic serving",
	} {
		s.dial().wantStatus(t, request, 0)
		s.waitLog(logged)
	}
	if n := strings.Count(s.log.String(), "on purpose"); n != 2 {
		t.Errorf("%d panics are logged, want 2:\n%s", n, s.log)
	}
	eventually(t, "no request is in flight", func() bool { return s.Requests() == 0 && s.table.len() == 0 })
}

// A response does not wait for the body of its request, and ends the connection.
func TestRequestBody(t *testing.T) {
	s := start(t, Config{}, nil)
	for _, body := range []string{"Content-Length: 1000000\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n5\r\nx"} {
		c := s.dial()
		c.SetDeadline(time.Now().Add(limits.ReadHeaderTimeout / 2))
		resp := c.wantStatus(t, "POST /a HTTP/1.1\r\nHost: h\r\n"+body, http.StatusOK)
		if resp != nil && !resp.Close {
			t.Errorf("%q: the connection stays open", body)
		}
		c.wantEnd(t, "after a request with a body")
	}
}
