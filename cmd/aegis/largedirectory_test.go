package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Reading a directory with many sockets takes time, but not that of a neighbour of the client
// that has it read. With AEGIS_TEST_LATENCY=1 there are 100,000.
func TestNeighbourOfALargeDirectory(t *testing.T) {
	entries := 10_000
	if os.Getenv("AEGIS_TEST_LATENCY") != "" {
		entries = 100_000
	}
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	for i := range entries {
		if err := unix.Mknod(filepath.Join(dir, fmt.Sprintf("dead%d.sock", i)), unix.S_IFSOCK|0o666, 0); err != nil {
			t.Fatal(err)
		}
	}
	p, addr := startAegis(t, dir)
	scrape := neighbour(t, addr)
	_, before := p.processUsage(t)
	var pages sync.WaitGroup
	for _, path := range []string{"/", "/-/sd", "/metrics"} {
		pages.Go(func() {
			resp, err := (&http.Client{Timeout: time.Minute}).Get("http://" + addr + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", path, resp.Status)
			}
		})
	}
	checkNeighbour(t, dir, func() bool {
		time.Sleep(5 * time.Millisecond) // so that the scrapes last as long as the pages
		return scrape()
	})
	pages.Wait()
	p.checkMemory(t, before, 1.5*allowedGrowth())
}
