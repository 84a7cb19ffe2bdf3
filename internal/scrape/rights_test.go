package scrape

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A service can send descriptors along with its response (SCM_RIGHTS, unix(7)). They must
// not stay open here.
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
	var refused atomic.Bool
	large := strings.Repeat("x 1\n", limits.MaxBufferedBody)
	for _, tt := range []struct {
		name, body string
		w          io.Writer
	}{
		{"buffered", "x 1\n", io.Discard},
		{"copied", large, io.Discard},
		{"spliced", large, new(fakeSplicer)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
				response := okResponse(tt.body)
				for len(response) > 0 {
					part := response[:min(len(response), 10_000)]
					_, _, err := c.(*net.UnixConn).WriteMsgUnix([]byte(part), rights, nil)
					if errors.Is(err, unix.EPERM) { // since Linux 6.16
						refused.Store(true)
						_, err = io.WriteString(c, part)
					}
					if err != nil {
						t.Error(err)
						return false
					}
					response = response[len(part):]
				}
				return true
			})
			c := newClient(t)
			t.Cleanup(closePipes)
			scrapeOnce := func() {
				resp, err := c.Do(t.Context(), s.socket(t), newRequest(t, 5*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Close()
				if n, err := resp.WriteTo(tt.w); err != nil || n != int64(len(tt.body)) {
					t.Fatalf("%d bytes, %v", n, err)
				}
			}
			scrapeOnce()
			before := descriptors(t)
			for range 3 {
				scrapeOnce()
			}
			if n := descriptors(t); n > before {
				t.Errorf("%d descriptors, %d before", n, before)
			}
			if kernelRefuses := passRightsIsKnown(t); refused.Load() != kernelRefuses {
				t.Errorf("the kernel refused to send descriptors: %v, want %v", refused.Load(), kernelRefuses)
			}
		})
	}
}

// passRightsIsKnown reports whether the kernel has the socket option SO_PASSRIGHTS.
func passRightsIsKnown(t *testing.T) bool {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS)
	return err == nil
}
