package server

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	fastRequest = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	slowRequest = "GET /a HTTP/1.1\r\nHost: h\r\nPragma: not for http1\r\n\r\n"
)

// testServer is a Server on loopback.
type testServer struct {
	*Server
	t        *testing.T
	addr     string
	log      *logBuffer
	registry *prometheus.Registry
	ended    chan error // has the result of Serve
}

// start serves what c says on l, or on a new TCP listener if l is nil. Without a handler in
// c, each response is "ok".
func start(t *testing.T, c Config, l net.Listener) *testServer {
	t.Helper()
	if l == nil {
		l = listen(t, "tcp", "127.0.0.1:0")
	}
	if c.Handler == nil {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	}
	s := &testServer{
		t: t, addr: l.Addr().String(), log: new(logBuffer),
		registry: prometheus.NewRegistry(), ended: make(chan error, 1),
	}
	c.Log, c.Registry = slog.New(slog.NewTextHandler(s.log, nil)), s.registry
	s.Server = New(c)
	go func() { s.ended <- s.Serve([]net.Listener{l}) }()
	t.Cleanup(s.Close)
	return s
}

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// metric returns the value of a counter or gauge.
func (s *testServer) metric(name string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].GetCounter().GetValue() + f.Metric[0].GetGauge().GetValue()
		}
	}
	s.t.Fatalf("there is no metric %s", name)
	return 0
}

// waitLog waits until the log has text.
func (s *testServer) waitLog(text string) {
	s.t.Helper()
	eventually(s.t, "the log has "+text, func() bool { return strings.Contains(s.log.String(), text) })
}

// client is a client's connection.
type client struct {
	net.Conn
	r *bufio.Reader
}

func (s *testServer) dial() client {
	s.t.Helper()
	return s.dialFrom("127.0.0.1")
}

// dialFrom connects from ip, which is on loopback.
func (s *testServer) dialFrom(ip string) client {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c, err := d.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return newClient(s.t, c)
}

func newClient(t *testing.T, c net.Conn) client {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return client{c, bufio.NewReader(c)}
}

// send sends request, which may be empty, and reads the next response.
func (c client) send(request string) (resp *http.Response, body string, err error) {
	io.WriteString(c, request)
	if resp, err = http.ReadResponse(c.r, nil); err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// wantStatus sends request and checks the status of the response. Status 0 is for a
// connection that ends without a response.
func (c client) wantStatus(t *testing.T, request string, status int) *http.Response {
	t.Helper()
	resp, body, err := c.send(request)
	switch {
	case status == 0 && (err == nil || isTimeout(err)):
		t.Errorf("%.60q: %v, want the connection to end", request, err)
	case status != 0 && err != nil:
		t.Errorf("%.60q: %v, want status %d", request, err, status)
	case status != 0 && resp.StatusCode != status:
		t.Errorf("%.60q: %s: %s, want status %d", request, resp.Status, body, status)
	}
	return resp
}

// wantEnd checks that the server ends the connection without sending more.
func (c client) wantEnd(t *testing.T, what string) {
	t.Helper()
	if b, err := c.r.ReadByte(); err == nil || isTimeout(err) {
		t.Errorf("%s: read %q, %v; want the end of the connection", what, b, err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// logBuffer is a log that several goroutines use.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happened that %s", what)
		}
	}
}
