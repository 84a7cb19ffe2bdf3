package scrape

import (
	"bytes"
	"context"
	"fmt"
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

// Parts of the head of a response.
const (
	okLine        = "HTTP/1.1 200 OK\r\n"
	plainType     = "Content-Type: text/plain; version=0.0.4\r\n"
	chunkedCoding = "Transfer-Encoding: chunked\r\n"
	gzipCoding    = "Content-Encoding: gzip\r\n"
)

// okResponse returns a complete response with a Content-Length.
func okResponse(body string) string {
	return fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n%s", okLine, plainType, len(body), body)
}

// fakeService listens on a Unix socket and responds with raw bytes.
type fakeService struct {
	net.Listener
	dir      string
	accepted atomic.Int32
	requests chan string // heads of the requests received
}

// handler responds to a request on c, the n-th from 0. It returns whether to keep the
// connection.
type handler func(c net.Conn, n int) (keep bool)

// startService starts a fakeService in dir.
func startService(t *testing.T, dir string, h handler) *fakeService {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeService{Listener: l, dir: dir, requests: make(chan string, 1000)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			go s.serve(c, h)
		}
	}()
	return s
}

func (s *fakeService) serve(c net.Conn, h handler) {
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
		s.requests <- string(head)
		head = nil
		if !h(c, i) {
			return
		}
	}
}

// respond sends response to every request and keeps the connection.
func respond(response string) handler {
	return func(c net.Conn, _ int) bool {
		_, err := io.WriteString(c, response)
		return err == nil
	}
}

// respondAndClose sends response to one request and closes the connection.
func respondAndClose(response string) handler {
	return func(c net.Conn, _ int) bool {
		io.WriteString(c, response)
		return false
	}
}

// respondAndHang sends start and then nothing until the other side closes.
func respondAndHang(start string) handler {
	return func(c net.Conn, _ int) bool {
		io.WriteString(c, start)
		io.Copy(io.Discard, c)
		return false
	}
}

func (s *fakeService) socket(t *testing.T) socketdir.Socket {
	t.Helper()
	socket, err := socketdir.New(s.dir).Socket("svc")
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// scrape scrapes s once and returns the complete body.
func (s *fakeService) scrape(t *testing.T, c *Client) (string, *Response, error) {
	t.Helper()
	return scrapeSocket(t.Context(), c, s.socket(t), newRequest(t, 5*time.Second))
}

func scrapeSocket(ctx context.Context, c *Client, socket socketdir.Socket, req Request) (string, *Response, error) {
	ctx, cancel := context.WithTimeout(ctx, req.Timeout)
	defer cancel()
	resp, err := c.Do(ctx, socket, req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Close()
	var body strings.Builder
	_, err = resp.WriteTo(&body)
	return body.String(), resp, err
}

// newRequest returns the request for a scraper that waits for timeout.
func newRequest(t testing.TB, timeout time.Duration) Request {
	r, err := http.NewRequest("GET", "http://aegis/svc", nil)
	if err != nil {
		t.Fatal(err)
	}
	req := NewRequest(r)
	req.Timeout = timeout
	return req
}

// newClient returns a Client. At the end of the test it checks that the Client leaves no
// goroutine, buffer, connection or other descriptor behind.
func newClient(t *testing.T) *Client {
	t.Helper()
	c := new(Client)
	c.pool.sweeper = time.NewTimer(time.Hour) // so idle connections stay on a busy machine
	goroutinesBefore, descriptorsBefore, buffersBefore := goroutines(), descriptors(t), buffersInUse.Load()
	t.Cleanup(func() {
		c.pool.closeIdle()
		eventually(t, "no more goroutines than before", func() bool { return goroutines() <= goroutinesBefore })
		eventually(t, "no more descriptors than before", func() bool { return descriptors(t) <= descriptorsBefore })
		if n := c.Connections(); n != 0 {
			t.Errorf("%d connections left", n)
		}
		if n := buffersInUse.Load(); n != buffersBefore {
			t.Errorf("%d buffers in use, %d before", n, buffersBefore)
		}
	})
	return c
}

// closeIdle closes the idle connections at once.
func (p *pool) closeIdle() {
	p.mu.Lock()
	for p.byAge.Len() > 0 {
		p.closeOldest()
	}
	p.mu.Unlock()
}

// goroutines returns how many goroutines there are, without the workers that package
// socketdir keeps.
func goroutines() (n int) {
	stacks := make([]byte, 4<<20)
	for stack := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
		if !bytes.Contains(stack, []byte("created by tulpa.dev/cadey/aegis/internal/socketdir.")) {
			n++
		}
	}
	return n
}

// descriptors returns how many file descriptors the process has.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// eventually waits until ok returns true, for longer than any working machine needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
