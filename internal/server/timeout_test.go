package server

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// hastyListener accepts connections whose read deadlines come much sooner than they should. It
// remembers how far off the last deadline was, that of lingering aside.
type hastyListener struct {
	net.Listener
	mu   sync.Mutex
	last time.Duration
}

func (l *hastyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return hastyConn{c.(*net.TCPConn), l}, nil
}

// timeout returns how far off the last deadline was.
func (l *hastyListener) timeout() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

type hastyConn struct {
	*net.TCPConn
	l *hastyListener
}

func (c hastyConn) SetReadDeadline(t time.Time) error {
	if left := time.Until(t); left > limits.LingerTimeout {
		c.l.mu.Lock()
		c.l.last = left
		c.l.mu.Unlock()
		t = time.Now().Add(max(left/100, 500*time.Millisecond))
	}
	return c.TCPConn.SetReadDeadline(t)
}

// A client has limits.ReadHeaderTimeout to send a request and limits.ClientIdleTimeout to
// begin the next.
func TestClientTimeouts(t *testing.T) {
	t.Parallel()
	const body = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx"
	const header, idle = limits.ReadHeaderTimeout, limits.ClientIdleTimeout
	const someLimit = "rate_limit: {interval: 1ms, burst: 9}\n" // has net/http serve all
	for name, tt := range map[string]struct {
		file    string   // of package auth
		send    []string // requests; all but the last get a response
		timeout time.Duration
	}{
		"silent":                        {"", []string{""}, header},
		"silent, net/http":              {someLimit, []string{""}, header},
		"silent, TLS":                   {withTLS, []string{""}, header},
		"part of a handshake":           {withTLS, []string{"\x16\x03\x01"}, header},
		"part of a head":                {"", []string{"GET /a HTTP/1.1\r\nHo"}, header},
		"part of a second head":         {"", []string{fastRequest, "GET /a HT"}, header},
		"part of a head after net/http": {"", []string{slowRequest, "GET /a HT"}, header},
		"part of a body":                {"", []string{body, ""}, header},
		"idle":                          {"", []string{fastRequest, ""}, idle},
		"idle, net/http":                {"", []string{slowRequest, ""}, idle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &hastyListener{Listener: listen(t, "tcp", "127.0.0.1:0")}
			c := Config{}
			if tt.file != "" {
				c.Auth = authenticator(t, tt.file)
			}
			s := start(t, c, l)
			client := s.dial()
			for i, request := range tt.send {
				if i < len(tt.send)-1 {
					client.wantStatus(t, request, http.StatusOK)
				} else {
					io.WriteString(client, request)
				}
			}
			if _, err := io.Copy(io.Discard, client.r); isTimeout(err) {
				t.Error("the connection is still open")
			}
			if got := l.timeout(); got > tt.timeout || got < tt.timeout*3/4 {
				t.Errorf("the client had %v, want %v", got, tt.timeout)
			}
			eventually(t, "no connection is left", func() bool { return s.table.len() == 0 })
		})
	}
}
