package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

const (
	okHead  = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	length  = okHead + "Content-Length: 4\r\n\r\n"
	chunked = okHead + "Transfer-Encoding: chunked\r\n\r\n"
)

// Services whose responses never end are scraped limits.MaxScrapesPerTarget times at once,
// and a neighbour of the scrapers is served meanwhile.
func TestHostileServicesWithEndlessResponses(t *testing.T) {
	for name, service := range map[string]struct{ head, body string }{
		"to the end of the connection": {okHead + "\r\n", "x 1\n"},
		"of a length":                  {okHead + "Content-Length: 999999999999999\r\n\r\n", "x 1\n"},
		"in chunks of a byte":          {chunked, "1\r\nx\r\n"},
		"in large chunks":              {chunked, "40000\r\n" + strings.Repeat("x", 0x40000) + "\r\n"},
		"in an endless chunk":          {chunked + "0fffffff\r\n", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sampleDirectory(t)
			p, addr := startAegis(t, dir)
			scrape := neighbour(t, addr)
			before := usageOf(t, addr)

			serveConnections(t, dir, "hostile", func(c net.Conn) {
				io.WriteString(c, service.head)
				sendForever(c, service.body)
			})
			var scrapers []net.Conn
			var readers sync.WaitGroup
			for range limits.MaxScrapesPerTarget {
				c := dial(t, addr)
				scrapers = append(scrapers, c)
				io.WriteString(c, get("/hostile", "X-Prometheus-Scrape-Timeout-Seconds: 100"))
				if _, err := io.CopyN(io.Discard, c, 2*limits.MaxBufferedBody); err != nil {
					t.Fatal(err)
				}
				readers.Go(func() { io.Copy(io.Discard, c) })
			}
			checkNeighbour(t, dir, scrape)
			p.checkMemory(t, before.residentMiB, allowedGrowth()/2)
			for _, c := range scrapers {
				c.Close()
			}
			readers.Wait()
			// Go keeps the pipes of spliced bodies for a while, and with the race detector
			// until it collects garbage.
			pipes := float64(2 * limits.MaxScrapesPerTarget)
			if raceDetector() {
				pipes = 1000
			}
			awaitUsage(t, addr, before, pipes)
		})
	}
}

// Whatever services do instead of responding, each scrape of them ends and says why it
// failed, takes little, and takes nothing from a neighbour of the scraper.
func TestHostileServices(t *testing.T) {
	const body = "x 1\n"
	for name, tt := range map[string]struct {
		talk func(net.Conn)
		want string // the status and a part of the response; empty if it is cut off
	}{
		"hangs before the header":       {hangsAfter(""), "504 "},
		"hangs in the header":           {hangsAfter("HTTP/1.1 200"), "504 "},
		"hangs in the body":             {hangsAfter(length + "x"), "504 "},
		"hangs in a chunk":              {hangsAfter(chunked + "4\r\nx"), "504 "},
		"hangs before the last chunk":   {hangsAfter(chunked + "4\r\n" + body + "\r\n"), "504 "},
		"hangs in a large body":         {hangsAfter(okHead + "Content-Length: 9999999\r\n\r\n" + strings.Repeat(body, 100_000)), ""},
		"a byte at a time":              {respondsSlowly, "504 "},
		"never reads":                   {func(c net.Conn) { time.Sleep(5 * time.Second); c.Close() }, "504 "},
		"endless interim responses":     {repeats("HTTP/1.1 102 Processing\r\n\r\n"), "502 "},
		"an endless header":             {repeats("X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"), "502 "},
		"a header of many MB":           {responds(okHead + "X: " + strings.Repeat("a", 8<<20) + "\r\n\r\n"), "502 64 KiB"},
		"extensions of many MB":         {responds(chunked + "4;" + strings.Repeat("a", 8<<20) + "\r\n" + body + "\r\n0\r\n\r\n"), "502 chunk extensions"},
		"trailers of many MB":           {responds(chunked + "0\r\n" + strings.Repeat("X: a\r\n", 1<<20) + "\r\n"), "502 trailers"},
		"a length and chunks":           {responds(okHead + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + body), "502 Content-Length"},
		"two lengths":                   {responds(okHead + "Content-Length: 5\r\nContent-Length: 4\r\n\r\n" + body), "502 "},
		"a negative length":             {responds(okHead + "Content-Length: -1\r\n\r\n" + body), "502 Content-Length"},
		"a length that overflows":       {responds(okHead + "Content-Length: 99999999999999999999\r\n\r\n" + body), "502 Content-Length"},
		"a chunk length that overflows": {responds(chunked + "ffffffffffffffff\r\n" + body), "502 its size line is"},
		"a length that never comes":     {responds(okHead + "Content-Length: 999999999999999\r\n\r\n" + body), "502 "},
		"a folded line":                 {responds(okHead + "X: a\r\n b\r\n\r\n" + body), "502 "},
		"a NUL":                         {responds(okHead + "X: \x00\r\n\r\n" + body), "502 a line of its head is"},
		"no HTTP":                       {responds("\x00\x01\x02 nonsense\r\n\r\n"), "502 "},
		"closes at accept":              {func(c net.Conn) { c.Close() }, "502 closed the connection"},
		"closes after the request":      {responds(""), "502 closed the connection"},
		"closes in the body":            {responds(length + "x"), "502 "},
		"closes its sending side":       {func(c net.Conn) { c.(*net.UnixConn).CloseWrite(); io.Copy(io.Discard, c); c.Close() }, "502 closed the connection"},
		"closes its receiving side":     {func(c net.Conn) { c.(*net.UnixConn).CloseRead(); io.WriteString(c, length+body); c.Close() }, "200 x 1"},
		"responds before the request":   {func(c net.Conn) { io.WriteString(c, length+body); afterRequest(c, ""); c.Close() }, "200 x 1"},
		"bytes after the end":           {responds(length + body + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nevil 1"), "200 x 1"},
		"HTTP/1.0":                      {responds("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body), "200 x 1"},
		"closes after each response":    {responds(length + body), "200 x 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sampleDirectory(t)
			p, addr := startAegis(t, dir)
			neighbourScrape := neighbour(t, addr)
			before := usageOf(t, addr)

			serveConnections(t, dir, "hostile", tt.talk)
			timeout := 30 * time.Second
			if tt.want == "" || strings.HasPrefix(tt.want, "504") {
				timeout = 500 * time.Millisecond
			}
			// Half of the limit, because a scrape still counts for a moment after its client
			// has the response.
			stop := flood(limits.MaxScrapesPerTarget/2, func(int, int) {
				if got := scrapeHostile(t, addr, timeout); !matches(got, tt.want) {
					t.Errorf("%.300q, want %q", got, tt.want)
				}
				time.Sleep(20 * time.Millisecond) // so that the scrapers leave the processor to Aegis
			})
			checkNeighbour(t, dir, neighbourScrape)
			p.checkMemory(t, before.residentMiB, allowedGrowth()/2)
			stop()
			awaitUsage(t, addr, before, 2*limits.MaxIdlePipes)
		})
	}
}

// Services can send small gzip bodies that are large decompressed, which Aegis does to see
// whether they are complete. That does not keep a neighbour waiting.
func TestHostileServicesWithGzipBombs(t *testing.T) {
	for name, framing := range map[string]string{"of a length": "Content-Length: %d\r\n", "to the end of the connection": ""} {
		t.Run(name, func(t *testing.T) {
			dir := sampleDirectory(t)
			var responses [2]string // of different lengths
			for i := range responses {
				body := gzipped(strings.Repeat("a 1\n", (limits.MaxDecompressed-(1+2*i)<<20)/4))
				head := okHead + "Content-Encoding: gzip\r\n" + strings.Replace(framing, "%d", fmt.Sprint(len(body)), 1)
				responses[i] = head + "\r\n" + body
			}
			var sent atomic.Int32
			serveConnections(t, dir, "hostile", func(c net.Conn) {
				defer c.Close()
				afterRequest(c, responses[sent.Add(1)%2])
			})
			_, addr := startAegis(t, dir)
			scrape := neighbour(t, addr)
			stop := flood(limits.MaxScrapesPerTarget, func(int, int) { scrapeHostile(t, addr, 5*time.Second) })
			defer stop()
			checkNeighbour(t, dir, scrape)
			waitFor(t, "responses of the service", func() bool { return sent.Load() > 20 })
		})
	}
}

// responds returns a service that sends response to each request and closes the connection.
func responds(response string) func(net.Conn) {
	return func(c net.Conn) {
		afterRequest(c, response)
		c.Close()
	}
}

// hangsAfter returns a service that sends the start of a response and nothing more.
func hangsAfter(start string) func(net.Conn) {
	return func(c net.Conn) {
		afterRequest(c, start)
		io.Copy(io.Discard, c)
		c.Close()
	}
}

// respondsSlowly sends a valid response, a byte at a time.
func respondsSlowly(c net.Conn) {
	defer c.Close()
	for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + strings.Repeat("x 1\n", 100)) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// repeats returns a service that sends text without end.
func repeats(text string) func(net.Conn) {
	return func(c net.Conn) { sendForever(c, text) }
}

// sendForever sends text over c again and again until the peer closes the connection.
func sendForever(c net.Conn, text string) {
	defer c.Close()
	batch := []byte(strings.Repeat(text, max(1, 1<<18/len(text))))
	for err := error(nil); err == nil; {
		_, err = c.Write(batch)
	}
}

// scrapeHostile scrapes the target hostile. It returns the status and the body, or nothing
// if they were cut off. It fails the test if there is no end in half a minute after timeout.
func scrapeHostile(t *testing.T, addr string, timeout time.Duration) string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(timeout + 30*time.Second))
	io.WriteString(c, get("/hostile", fmt.Sprintf("%s: %v", scrape.TimeoutHeader, timeout.Seconds())))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Errorf("a scrape with a timeout of %v did not end", timeout)
	}
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

// matches reports whether response has the status with which want begins and contains the
// rest of want, or both are empty.
func matches(response, want string) bool {
	status, part, _ := strings.Cut(want, " ")
	return (response == "") == (want == "") && strings.HasPrefix(response, status) && strings.Contains(response, part)
}
