package http1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A scraper that does not read is let go at the deadline of writing.
func TestSlowReader(t *testing.T) {
	const size = 32 << 20
	for name, write := range map[string]func(w http.ResponseWriter) error{
		"written": func(w http.ResponseWriter) error {
			_, err := w.Write(make([]byte, size))
			return err
		},
		"in the kernel": func(w http.ResponseWriter) error {
			w.Header().Set("Content-Length", strconv.Itoa(size))
			e := w.(*exchange)
			e.Expect(size)
			return pour(e, strings.Repeat("x", size))
		},
		"a chunk in the kernel": func(w http.ResponseWriter) error {
			e := w.(*exchange)
			e.Expect(size)
			return pour(e, strings.Repeat("x", size))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			_, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				http.NewResponseController(w).SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				ended <- write(w)
			})
			c := dial(t, addr)
			io.WriteString(c, here)
			select {
			case err := <-ended:
				if err == nil {
					t.Error("32 MiB were written to nobody")
				}
			case <-time.After(10 * time.Second):
				t.Error("still writing")
			}
		})
	}
}

// What a scraper does not take of a whole answer stays with the kernel until the
// deadline of writing, and no longer; what it takes late it gets.
func TestAnswerNotTaken(t *testing.T) {
	const size = 256 << 10
	large := func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Second))
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Write(make([]byte, size))
	}
	const closing = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	for name, tt := range map[string]struct {
		request string
		after   time.Duration // that it reads
		slow    int           // others, before it
		later   int           // others, after it
		taken   bool
	}{
		"soon":                       {request: here, taken: true},
		"late":                       {request: here, after: 300 * time.Millisecond, taken: true},
		"too late":                   {request: here, after: 2 * time.Second},
		"late, after many":           {request: here, after: 300 * time.Millisecond, slow: limits.MaxUndrained, taken: true},
		"after many, over net/http":  {request: there, after: 300 * time.Millisecond, slow: limits.MaxUndrained, taken: true},
		"late, before many":          {request: here, after: 300 * time.Millisecond, later: limits.MaxUndrained},
		"before many, over net/http": {request: there, after: 300 * time.Millisecond, later: limits.MaxUndrained},
		"late, over net/http":        {request: there, after: 300 * time.Millisecond, taken: true},
		"late, and the last":         {request: closing, after: 300 * time.Millisecond, taken: true},
		"too late, and the last":     {request: closing, after: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, addr := serve(t, large)
			for range tt.slow {
				server.slow.enter()
			}
			tight := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
				return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048) })
			}}
			tcp, err := tight.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer tcp.Close()
			tcp.SetDeadline(time.Now().Add(20 * time.Second))
			c := client{tcp, bufio.NewReader(tcp)}
			io.WriteString(c, tt.request)
			if tt.later > 0 {
				eventually(t, "it is waited for", func() bool { return server.slow.len() == 1 })
				for range tt.later {
					server.slow.enter()
				}
			}
			time.Sleep(tt.after)
			got := c.ask(t, "")
			if taken := got.err == nil && len(got.body) == size; taken != tt.taken {
				t.Errorf("%d bytes came, and %v", len(got.body), got.err)
			}
			eventually(t, "nobody is waited for", func() bool { return server.slow.len() <= max(tt.slow-1, tt.later) })
			if tt.taken && tt.request != closing {
				if got := c.ask(t, here); len(got.body) != size {
					t.Errorf("of the next answer %d bytes came, and %v", len(got.body), got.err)
				}
			}
		})
	}
}
