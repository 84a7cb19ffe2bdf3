package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Whatever a body's size is to the buffers between service and scraper, it comes
// whole, in its own framing, and so does the one after it on the same connection.
func TestBodiesOfEverySize(t *testing.T) {
	a := start(t)
	a.service("svc", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		w.Header().Set("Content-Type", "text/plain")
		if r.URL.Query().Has("chunked") {
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, strings.Repeat("x", n))
	})
	var sizes []int
	for _, around := range []int{0, 2 << 10, 4 << 10, 8 << 10, limits.Block, limits.Gather, limits.Gather + limits.Block} {
		for n := max(around-300, 0); n <= around+20; n += 1 + min(around, 20) {
			sizes = append(sizes, n)
		}
	}
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	for _, size := range sizes {
		for _, framing := range []string{"", "&chunked"} {
			fmt.Fprintf(c, "GET /svc?n=%d%s HTTP/1.1\r\nHost: h\r\n\r\n", size, framing)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("%d bytes%s: %v", size, framing, err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || len(body) != size || strings.Trim(string(body), "x") != "" {
				t.Errorf("%d bytes%s: %d came, %v", size, framing, len(body), err)
			}
		}
	}
	if n := a.Connections(); n != 1 {
		t.Errorf("%d connections, want the one", n)
	}
}

// A scraper that is gone when the rest of its answer is written tells nothing of
// the service.
func TestHangUpBeforeTheRestIsWritten(t *testing.T) {
	a := start(t)
	answer := make(chan struct{})
	a.service("svc", func(w http.ResponseWriter, r *http.Request) {
		<-answer
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, strings.Repeat("x 1\n", 1300))
	})
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	const scrape = "GET /svc HTTP/1.1\r\nHost: h\r\n\r\n"
	io.WriteString(c, scrape)
	eventually(t, "the scrape", func() bool { return a.Requests() == 1 })
	// Once net/http has read a byte of the next request, which nothing shows, it no
	// longer watches for the hang-up.
	io.WriteString(c, scrape)
	time.Sleep(20 * time.Millisecond)
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	close(answer)
	eventually(t, "the end of the scrape", func() bool { return a.Requests() == 0 })
	if got := a.metric(`aegis_scrapes_total{result="canceled",target="svc"}`); got != "1" {
		t.Errorf("%q scrapes counted as canceled, want 1; log:\n%s", got, a.log.String())
	}
}
