package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Hostile clients take what the limits give them, and a neighbour is scraped meanwhile.
func TestHostileClients(t *testing.T) {
	const clients = limits.MaxScrapes + 100
	for name, request := range map[string]string{
		"headers that never end":     "GET /svc HTTP/1.1\r\nHost: h\r\nX-Pad: aaaaaaaaaaaaaaaa",
		"bodies that never come":     "POST /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nx",
		"large responses never read": get("/large"),
		"names that do not exist":    get("/nobody%d"),
		"pipelines":                  strings.Repeat(get("/other"), 3),
		"scrapes that are abandoned": get("/sloth"),
		"pages":                      strings.Repeat(get("/"), 10),
		"lists":                      strings.Repeat(get("/-/sd"), 10),
		"metrics":                    strings.Repeat(get("/metrics"), 10),
	} {
		t.Run(name, func(t *testing.T) {
			dir := sampleDirectory(t)
			p, addr := startAegis(t, dir)
			scrape := neighbour(t, addr)
			before := usageOf(t, addr)

			var conns []net.Conn
			for i := range clients {
				c := dial(t, addr)
				conns = append(conns, c)
				io.WriteString(c, strings.Replace(request, "%d", fmt.Sprint(i), 1))
			}
			checkNeighbour(t, dir, scrape)
			p.checkMemory(t, before.residentMiB, allowedGrowth())
			for _, c := range conns {
				c.Close()
			}
			// Go keeps the pipes of spliced bodies for a while.
			const pipes = 2 * limits.MaxScrapesPerTarget
			awaitUsage(t, addr, before, pipes+20)
		})
	}
}

// Clients that send requests as fast as they can, without waiting for responses, slow others
// down but do not shut them out.
func TestFloods(t *testing.T) {
	const connections = 4
	for _, path := range []string{"/svc", "/nobody", "/-/healthy"} {
		t.Run(path[1:], func(t *testing.T) {
			dir := sampleDirectory(t)
			_, addr := startAegis(t, dir)
			scrape := neighbour(t, addr)
			requests := bytes.Repeat([]byte(get(path)), 1000)
			for range connections {
				c := dial(t, addr)
				go io.Copy(io.Discard, c)
				go func() {
					for err := error(nil); err == nil; {
						_, err = c.Write(requests)
					}
				}()
			}
			checkNeighbour(t, dir, scrape)
		})
	}
}
