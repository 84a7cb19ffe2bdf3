package scrape

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// If the scraper hangs up while Aegis still dials, the scrape failed because of the scraper,
// whatever became of the dial.
func TestHangUpWhileDialing(t *testing.T) {
	listening := listen(t, t.TempDir(), says(answer("x 1\n")))
	abandoned := listen(t, t.TempDir(), says(answer("x 1\n")))
	abandoned.Listener.(*net.UnixListener).SetUnlinkOnClose(false)
	abandoned.Close()
	for name, p := range map[string]*peer{"a service that listens": listening, "nobody listens": abandoned} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			// Not in the directory that is served, where a dial may be too short to be cut off.
			socket, err := socketdir.New(t.TempDir()).LookupPath(t.Context(), p.dir+"/svc.sock")
			if err != nil {
				t.Fatal(err)
			}
			hungUp, hangUp := context.WithCancel(t.Context())
			hangUp()
			for range 100 {
				if _, err := c.Get(hungUp, socket, scraper(t, "", time.Second)); !errors.Is(err, ErrCanceled) {
					t.Fatalf("error %v, want %v", err, ErrCanceled)
				}
			}
		})
	}
}
