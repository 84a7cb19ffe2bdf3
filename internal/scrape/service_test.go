package scrape

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// peer is a service of the test's own on a Unix socket, which speaks raw bytes.
type peer struct {
	net.Listener
	dir      string
	accepted atomic.Int32
	requests chan string // the heads that came
}

// listen starts a peer in dir. talk is called for each request on a connection,
// counted from 0, and the connection is closed when it returns false.
func listen(t *testing.T, dir string, talk func(c net.Conn, request int) bool) *peer {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Listener: l, dir: dir, requests: make(chan string, 1000)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			go p.converse(c, talk)
		}
	}()
	return p
}

func (p *peer) converse(c net.Conn, talk func(net.Conn, int) bool) {
	defer c.Close()
	var head []byte
	buf := make([]byte, 4096)
	for i := 0; ; i++ {
		for !bytes.Contains(head, []byte("\r\n\r\n")) {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			head = append(head, buf[:n]...)
		}
		p.requests <- string(head)
		head = nil
		if !talk(c, i) {
			return
		}
	}
}

func (p *peer) socket(t *testing.T) socketdir.Socket {
	t.Helper()
	s, err := socketdir.New(p.dir).Lookup(t.Context(), "svc")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// says answers every request with response and keeps the connection.
func says(response string) func(net.Conn, int) bool {
	return func(c net.Conn, _ int) bool {
		_, err := io.WriteString(c, response)
		return err == nil
	}
}

// saysAndCloses answers one request with response and closes the connection.
func saysAndCloses(response string) func(net.Conn, int) bool {
	return func(c net.Conn, _ int) bool {
		io.WriteString(c, response)
		return false
	}
}

// hangs says start and then nothing, until the other side closes.
func hangs(start string) func(net.Conn, int) bool {
	return func(c net.Conn, _ int) bool {
		io.WriteString(c, start)
		io.Copy(io.Discard, c)
		return false
	}
}

// newClient returns a Client that is to leave nothing behind when the test is over:
// no goroutine and no descriptor, whatever the service did.
func newClient(t *testing.T) *Client {
	t.Helper()
	c := new(Client)
	hadGoroutines, hadDescriptors := goroutines(), descriptors(t)
	t.Cleanup(func() {
		c.Retain(nil)
		eventually(t, "no more goroutines than before", func() bool { return goroutines() <= hadGoroutines })
		eventually(t, "no more descriptors than before", func() bool { return descriptors(t) <= hadDescriptors })
		if c.Connections() != 0 || c.InFlight() != 0 {
			t.Errorf("%d connections and %d scrapes left", c.Connections(), c.InFlight())
		}
	})
	return c
}

// goroutines returns how many there are, less the worker that each folder keeps.
func goroutines() (n int) {
	all := make([]byte, 4<<20)
	for stack := range bytes.SplitSeq(all[:runtime.Stack(all, true)], []byte("\n\n")) {
		if !bytes.Contains(stack, []byte("socketdir.(*worker).work(")) {
			n++
		}
	}
	return n
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// scraper is a scraper's request that waits for timeout.
func scraper(t testing.TB, target string, timeout time.Duration) Request {
	r, err := http.NewRequest("GET", "http://aegis/svc"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req := NewRequest(r)
	req.Timeout = timeout
	return req
}

// scrape scrapes p once and returns the whole answer.
func (p *peer) scrape(t *testing.T, c *Client) (string, *Response, error) {
	t.Helper()
	return scrapeSocket(t.Context(), c, p.socket(t), scraper(t, "", 5*time.Second))
}

func scrapeSocket(ctx context.Context, c *Client, s socketdir.Socket, req Request) (string, *Response, error) {
	ctx, cancel := context.WithTimeout(ctx, req.Timeout)
	defer cancel()
	a, err := c.Get(ctx, s, req)
	if err != nil {
		return "", nil, err
	}
	defer a.Close()
	var body strings.Builder
	_, err = a.WriteTo(&body)
	return body.String(), a, err
}

// eventually waits until ok, within what no working machine exceeds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}
