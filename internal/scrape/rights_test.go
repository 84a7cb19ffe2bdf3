package scrape

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A service can send descriptors along with its answer (SCM_RIGHTS, unix(7)). They
// do not stay here.
func TestDescriptorsFromAService(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var fds []int
	for range 20 {
		fds = append(fds, int(null.Fd()))
	}
	rights := unix.UnixRights(fds...)
	for name, body := range map[string]string{"gathered": "x 1\n", "copied in the kernel": strings.Repeat("x 1\n", limits.MaxBufferedBody)} {
		t.Run(name, func(t *testing.T) {
			p := listen(t, t.TempDir(), func(c net.Conn, _ int) bool {
				answer := fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n%s", ok, plain, len(body), body)
				for len(answer) > 0 {
					part := answer[:min(len(answer), 10_000)]
					if _, _, err := c.(*net.UnixConn).WriteMsgUnix([]byte(part), rights, nil); err != nil {
						t.Error(err)
						return false
					}
					answer = answer[len(part):]
				}
				return true
			})
			scraperSide, far := tcpPair(t)
			go io.Copy(io.Discard, far)
			c := newClient(t)
			defer c.Retain(nil)
			scrapeOnce := func() {
				a, err := c.Get(t.Context(), p.socket(t), scraper(t, "", 5*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				if n, err := a.WriteTo(scraperSide); err != nil || n != int64(len(body)) {
					t.Fatalf("%d bytes, %v", n, err)
				}
			}
			scrapeOnce()
			before := descriptors(t)
			for range 3 {
				scrapeOnce()
			}
			// Pipes for copying stay, some for each processor.
			eventually(t, "as many descriptors as before", func() bool { return descriptors(t) <= before+4*runtime.GOMAXPROCS(0) })
		})
	}
}

// tcpPair returns both ends of a connection.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}
