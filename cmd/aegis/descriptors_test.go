package main

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Without a descriptor for another connection, Aegis logs that, serves the clients that it
// has, and accepts others once there is room again.
func TestOutOfDescriptors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	p := start(t, "sh", "-c", `ulimit -n 24; exec aegis "$@"`, "sh", "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitAddress(t)
	first := dialAndScrape(t, addr)
	var others []net.Conn
	for range 30 { // The kernel accepts all of them.
		c := dial(t, addr)
		c.Write([]byte(get("/-/healthy")))
		others = append(others, c)
	}
	p.awaitOutput(t, `accepting a connection failed.*too many open files`)
	if got := scrapeOn(first, "/svc"); !isOK(got) && !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("on the connection that Aegis has: %q", got)
	}
	for _, c := range others {
		c.Close()
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Get("http://" + addr + "/svc")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("with room again: %s", resp.Status)
	}
}
