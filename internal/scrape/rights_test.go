package scrape

import (
	"io"
	"net"
	"os"
	"strings"
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
					if _, _, err := c.(*net.UnixConn).WriteMsgUnix([]byte(part), rights, nil); err != nil {
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
		})
	}
}
