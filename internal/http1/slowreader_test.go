package http1_test

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
)

// A client that does not read is disconnected at the write deadline. One that reads late,
// but before that, gets everything, and can send its next request.
func TestSlowReader(t *testing.T) {
	const size = 8 << 20
	for name, write := range map[string]func(w http.ResponseWriter) error{
		"written": func(w http.ResponseWriter) error {
			_, err := w.Write(make([]byte, size))
			return err
		},
		"spliced": func(w http.ResponseWriter) error {
			w.Header().Set("Content-Length", strconv.Itoa(size))
			w.(splicer).Expect(size)
			return pour(w.(splicer), strings.Repeat("x", size))
		},
		"a chunk spliced": func(w http.ResponseWriter) error {
			w.(splicer).Expect(size)
			return pour(w.(splicer), strings.Repeat("x", size))
		},
	} {
		for _, timeout := range []time.Duration{100 * time.Millisecond, 15 * time.Second} {
			t.Run(name+", deadline after "+timeout.String(), func(t *testing.T) {
				t.Parallel()
				ended := make(chan error, 2)
				c := dial(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
					http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout))
					ended <- write(w)
				}))
				io.WriteString(c, fastRequest)
				late := timeout > time.Second
				if late {
					time.Sleep(100 * time.Millisecond)
					for _, request := range []string{"", fastRequest} {
						if got := c.send(request); len(got.body) != size || got.err != nil {
							t.Errorf("read %d bytes, %v", len(got.body), got.err)
						}
					}
				}
				select {
				case err := <-ended:
					if (err == nil) != late {
						t.Errorf("writing ended with %v", err)
					}
				case <-time.After(15 * time.Second):
					t.Error("the handler still writes")
				}
			})
		}
	}
}

// The kernel holds a complete response that its client does not read only until the write
// deadline, and for limits.ErrorWriteTimeout if the connection ends with it.
func TestResponseNotRead(t *testing.T) {
	const size = 256 << 10
	for name, tt := range map[string]struct {
		request string
		timeout time.Duration
		lost    bool
	}{
		"http1":             {fastRequest, 15 * time.Second, false},
		"http1, too late":   {fastRequest, 100 * time.Millisecond, true},
		"net/http":          {slowRequest, 15 * time.Second, false},
		"closing":           {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 15 * time.Second, false},
		"closing, too late": {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 100 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				http.NewResponseController(w).SetWriteDeadline(time.Now().Add(tt.timeout))
				w.Header().Set("Content-Length", strconv.Itoa(size))
				w.Write(make([]byte, size))
			})
			c := dialSmall(t, addr)
			io.WriteString(c, tt.request)
			time.Sleep(100 * time.Millisecond)
			if tt.lost {
				waitReset(t, c)
				return
			}
			if got := c.send(""); len(got.body) != size || got.err != nil {
				t.Fatalf("read %d bytes, %v", len(got.body), got.err)
			}
			if name != "closing" {
				if got := c.send(fastRequest); len(got.body) != size {
					t.Errorf("read %d bytes of the next response, %v", len(got.body), got.err)
				}
			}
		})
	}
}

// dialSmall connects with a small receive buffer.
func dialSmall(t *testing.T, addr string) client {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048) })
	}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return client{c, bufio.NewReader(c)}
}

// waitReset waits until the server resets c, and reads nothing meanwhile.
func waitReset(t *testing.T, c client) {
	t.Helper()
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: 0}}
		n, err := unix.Poll(fds, 10_000)
		for err == unix.EINTR {
			n, err = unix.Poll(fds, 10_000)
		}
		if n != 1 || fds[0].Revents&unix.POLLERR == 0 {
			t.Errorf("the connection was not reset: %v, events %#x", err, fds[0].Revents)
		}
	})
}
