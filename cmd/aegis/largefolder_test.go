package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A folder with a hundred thousand sockets takes time to read, but not the time of
// those who scrape.
func TestLargeFolder(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test makes 100,000 sockets")
	}
	const entries = 100_000
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	for i := range entries {
		if err := unix.Mknod(filepath.Join(dir, fmt.Sprintf("dead%d.sock", i)), unix.S_IFSOCK|0o666, 0); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	neighbour := dialAndScrape(t, addr, 10*time.Second)
	_, before := taken(t, p)

	done := make(chan struct{})
	go func() {
		defer close(done)
		for path, want := range map[string]int{"/": 200, "/-/sd": 200, "/metrics": 200} {
			resp, err := (&http.Client{Timeout: 30 * time.Second}).Get("http://" + addr + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: %s, want %d", path, resp.Status, want)
			}
		}
	}()
	if got := slowest(t, func() bool {
		time.Sleep(5 * time.Millisecond) // spread over what goes on beside
		return scrapeOn(neighbour, 10*time.Second) != ""
	}); got > patience()+5*time.Millisecond {
		t.Errorf("a neighbour's scrape took %v in the 99th of a hundred cases", got)
	} else {
		t.Logf("a neighbour's p99: %v", got)
	}
	<-done
	if _, now := taken(t, p); now > before+room() {
		t.Errorf("%.0f MiB resident, before it were %.0f", now, before)
	} else {
		t.Logf("%.0f MiB resident, before it were %.0f", now, before)
	}
}
