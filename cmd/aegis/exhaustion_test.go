package main

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Out of descriptors, Aegis says so, serves whom it has, and takes up the others
// when there is room again.
func TestOutOfDescriptors(t *testing.T) {
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	p := start(t, "aegis", "sh", "-c", `ulimit -n 24; exec aegis "$@"`, "sh", "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	first := dialAndScrape(t, addr, 10*time.Second)
	if first == nil {
		t.Fatal("no scrape at all")
	}
	var others []net.Conn
	for range 30 {
		c := dialAndScrape(t, addr, 300*time.Millisecond)
		if c == nil {
			break
		}
		others = append(others, c)
	}
	if len(others) == 30 {
		t.Fatal("24 descriptors were enough for 31 connections")
	}
	p.awaitOutput(t, `(too many open files)`)
	if answer := scrapeOn(first, 10*time.Second); !strings.HasPrefix(answer, "HTTP/1.1 200") && !strings.HasPrefix(answer, "HTTP/1.1 503") {
		t.Errorf("on the connection that is there: %q", answer)
	}
	for _, c := range others {
		c.Close()
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Get("http://" + addr + "/svc")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("with room again: %v, %v", resp, err)
	}
}

// dialAndScrape returns a connection over which a scrape was answered, nil if
// that took too long.
func dialAndScrape(t *testing.T, addr string, patience time.Duration) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if scrapeOn(c, patience) == "" {
		return nil
	}
	return c
}

// scrapeOn returns the beginning of the answer to a scrape over c.
func scrapeOn(c net.Conn, patience time.Duration) string {
	c.SetDeadline(time.Now().Add(patience))
	c.Write([]byte("GET /svc HTTP/1.1\r\nHost: h\r\n\r\n"))
	buf := make([]byte, 4096)
	n, _ := c.Read(buf)
	return string(buf[:n])
}
