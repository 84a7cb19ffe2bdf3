package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Many servers have one worker, which an open connection occupies until its client closes it. A
// scrape must not take it away from the users of the service.
func TestSingleWorker(t *testing.T) {
	dir := t.TempDir()
	singleWorker(t, dir, "svc")
	addr := start(t, "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir).awaitAddress(t)
	if response := scrapeOn(dial(t, addr), "/svc"); !isOK(response) {
		t.Fatalf("scrape: %s", response)
	}

	begin := time.Now()
	user, err := net.Dial("unix", filepath.Join(dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	user.SetDeadline(begin.Add(10 * time.Second))
	io.WriteString(user, get("/"))
	if resp, err := http.ReadResponse(bufio.NewReader(user), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a user's request right after a scrape: %v, %v", resp, err)
	}
	t.Logf("a user's request right after a scrape took %v", time.Since(begin))
	user.Close()

	const scrapers = 4
	responses := make(chan string, scrapers)
	for range scrapers {
		c := dial(t, addr)
		go func() { responses <- scrapeOn(c, "/svc") }()
	}
	for range scrapers {
		if response := <-responses; !isOK(response) {
			t.Errorf("scrapes at the same time: %s", response)
		}
	}
}

// singleWorker listens on name.sock in dir. It serves one connection at a time, to its end.
func singleWorker(t *testing.T, dir, name string) {
	t.Helper()
	var worker sync.Mutex
	serveConnections(t, dir, name, func(c net.Conn) {
		worker.Lock()
		defer worker.Unlock()
		defer c.Close()
		for requests := bufio.NewReader(c); ; {
			if _, err := http.ReadRequest(requests); err != nil {
				return
			}
			fmt.Fprint(c, length+"x 1\n")
		}
	})
}
