package scrape

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// failingWriter fails after n bytes.
type failingWriter struct{ n int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.n -= len(p); w.n < 0 {
		return 0, errors.New("broken")
	}
	return len(p), nil
}

func TestWriteErrorIsErrCanceled(t *testing.T) {
	large := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+100_000)
	s := startService(t, t.TempDir(), respond(okLine+plainType+chunkedCoding+fmt.Sprintf("\r\n%x\r\n", len(large))+large+"\r\n0\r\n\r\n"))
	c := newClient(t)
	for _, n := range []int{0, limits.MaxBufferedBody + 200_000} {
		resp, err := c.Do(t.Context(), s.socket(t), newRequest(t, 5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resp.WriteTo(&failingWriter{n}); !errors.Is(err, ErrCanceled) {
			t.Errorf("fails after %d bytes: %v, want %v", n, err, ErrCanceled)
		}
		resp.Close()
		if c.Connections() != 0 {
			t.Error("a connection with the rest of a response in it was kept")
		}
	}
}
