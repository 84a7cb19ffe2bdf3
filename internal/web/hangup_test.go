package web

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/target"
)

// large sends body as text/plain with its length.
func large(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		io.WriteString(w, body)
	}
}

// A scraper that hangs up frees what its scrape held, long before the deadline.
func TestHangUp(t *testing.T) {
	for name, tt := range map[string]struct{ field, more string }{
		"at once":                              {},
		"after part of a next request":         {more: "G"},
		"in net/http":                          {field: "Pragma: x\r\n"},
		"after part of a next one in net/http": {field: "Pragma: x\r\n", more: "G"},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			var begun atomic.Bool
			ended := make(chan struct{}, 1)
			a.service("slow", func(w http.ResponseWriter, r *http.Request) {
				begun.Store(true)
				<-r.Context().Done()
				ended <- struct{}{}
			})
			c := a.dial()
			io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n"+tt.field+"\r\n")
			eventually(t, "the scrape is in flight", func() bool {
				return begun.Load() && a.metric("aegis_scrapes_in_flight") == "1"
			})
			if tt.more != "" {
				time.Sleep(3 * limits.HangUpCheckDelay) // Aegis has looked for a hang-up by then.
				io.WriteString(c, tt.more)
				time.Sleep(limits.HangUpCheckDelay)
			}
			c.Close()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Error("the request to the service is still in flight long after the hang-up")
			}
			eventually(t, "no scrape in flight", func() bool {
				return a.metric("aegis_scrapes_in_flight") == "0" && a.metric("aegis_backend_connections") == "0"
			})
			a.waitForScrapes(1, "slow", target.Canceled)
		})
	}
}

// A scraper that is gone when the rest of its response is written says nothing about the
// service.
func TestHangUpBeforeTheRestIsWritten(t *testing.T) {
	a := start(t)
	respond := make(chan struct{})
	a.service("svc", func(w http.ResponseWriter, r *http.Request) {
		<-respond
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, strings.Repeat("x 1\n", 1300))
	})
	c := a.dial()
	io.WriteString(c, "GET /svc HTTP/1.1\r\nHost: h\r\n\r\n")
	eventually(t, "the scrape is in flight", func() bool { return a.conns.Requests() == 1 })
	// Aegis does not look for a hang-up yet (limits.HangUpCheckDelay).
	c.SetLinger(0)
	c.Close()
	close(respond)
	eventually(t, "the scrape has ended", func() bool { return a.conns.Requests() == 0 })
	a.waitForScrapes(1, "svc", target.Canceled)
}

// A scrape whose client does not read the response ends at its deadline.
func TestSlowReader(t *testing.T) {
	a := start(t)
	a.service("large", large(strings.Repeat("abcdefg 1\n", 5_000_000)))
	io.WriteString(a.dial(), "GET /large HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 0.2\r\n\r\n")
	a.waitForScrapes(1, "large", target.Canceled)
	if n := a.metric("aegis_scrapes_in_flight"); n != "0" {
		t.Errorf("%s scrapes in flight, want 0", n)
	}
}

// A scraper that gives up around its deadline, in a body that it does not read, says nothing
// about the service.
func TestResetAroundTheDeadline(t *testing.T) {
	a := start(t)
	a.service("svc", large(strings.Repeat("\x00", 64<<20)))
	var done sync.WaitGroup
	// Aegis' own deadline is after 900 ms.
	for _, after := range []time.Duration{700, 950, 1100, 1300} {
		c := a.dial()
		done.Go(func() {
			io.WriteString(c, "GET /svc HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n")
			time.Sleep(after * time.Millisecond)
			c.SetLinger(0)
			c.Close()
		})
	}
	done.Wait()
	a.waitForScrapes(4, "svc", target.Canceled)
}
