package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

// Services that send without end take no more than their turn: as many scrapes of
// one as may be are under way, and its neighbour is scraped meanwhile as ever.
func TestHostileServices(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	for name, service := range map[string]struct{ head, endless string }{
		"to the end of the connection": {head + "\r\n", "x 1\n"},
		"of a length":                  {head + "Content-Length: 999999999999999\r\n\r\n", "x 1\n"},
		"in chunks of a byte":          {head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
		"in large chunks":              {head + "Transfer-Encoding: chunked\r\n\r\n", "40000\r\n" + strings.Repeat("x", 0x40000) + "\r\n"},
		"in an endless chunk":          {head + "Transfer-Encoding: chunked\r\n\r\n0fffffff\r\n", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sampleFolder(t)
			p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
			addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
			neighbour := dialAndScrape(t, addr, 10*time.Second)
			begin := ownCost(t, addr)
			descriptors, resident := taken(t, p)

			sendsForEver(t, filepath.Join(dir, "hostile.sock"), service.head, service.endless)
			var scrapers []net.Conn
			var drained sync.WaitGroup
			for range limits.MaxScrapesPerTarget {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				scrapers = append(scrapers, c)
				io.WriteString(c, "GET /hostile HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 100\r\n\r\n")
				if _, err := io.CopyN(io.Discard, c, 2*limits.MaxBufferedBody); err != nil {
					t.Fatal(err)
				}
				drained.Go(func() { io.Copy(io.Discard, c) })
			}
			if got := p99(t, neighbour); got > patience() {
				t.Errorf("a neighbour's scrape took %v in the 99th of a hundred cases", got)
			} else {
				t.Logf("a neighbour's p99: %v", got)
			}
			if _, now := taken(t, p); now > resident+room()/2 {
				t.Errorf("%.0f MiB resident, before it were %.0f", now, resident)
			}
			for _, c := range scrapers {
				c.Close()
			}
			drained.Wait()
			eventually(t, func() error {
				// Of what was moved in the kernel, Go keeps the pipes for a while; with
				// the race detector it forgets some until it collects garbage.
				if now, _ := taken(t, p); now > descriptors+2*limits.MaxScrapesPerTarget && !raceDetector() {
					return fmt.Errorf("%d descriptors, before it were %d", now, descriptors)
				}
				if now := ownCost(t, addr); now.goroutines > begin.goroutines+limits.MaxScrapesPerTarget {
					return fmt.Errorf("%v, before it were %v", now, begin)
				}
				return nil
			})
		})
	}
}

// sendsForEver listens at path, and sends head and then endless, again and again, on
// each connection.
func sendsForEver(t *testing.T, path, head, endless string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	much := []byte(strings.Repeat(endless, max(1, (1<<18)/len(endless))))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, err := io.WriteString(c, head)
				for err == nil {
					_, err = c.Write(much)
				}
			}()
		}
	}()
}

// Whatever services do instead of answering, each scrape of them has an end and says
// which, and as many scrapers as may be take nothing for long and nothing from a
// neighbour.
func TestServicesThatMisbehave(t *testing.T) {
	const (
		ok      = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
		length  = ok + "Content-Length: 4\r\n\r\n"
		chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
		body    = "x 1\n"
	)
	answers := func(answer string) func(net.Conn) {
		return func(c net.Conn) { afterRequest(c, answer); c.Close() }
	}
	hangs := func(beginning string) func(net.Conn) {
		return func(c net.Conn) { afterRequest(c, beginning); io.Copy(io.Discard, c); c.Close() }
	}
	for name, tt := range map[string]struct {
		talk func(net.Conn)
		want string // the answer's status and what it says; none if it breaks off
	}{
		"hangs before the head":          {hangs(""), "504 nothing had come"},
		"hangs in the head":              {hangs("HTTP/1.1 200"), "504 12 bytes had come"},
		"hangs in the body":              {hangs(length + "x"), "504 bytes had come"},
		"hangs in a chunk":               {hangs(chunked + "4\r\nx"), "504 bytes had come"},
		"hangs before the last chunk":    {hangs(chunked + "4\r\n" + body + "\r\n"), "504 bytes had come"},
		"hangs in a large body":          {hangs(ok + "Content-Length: 9999999\r\n\r\n" + strings.Repeat(body, 100_000)), ""},
		"a byte at a time":               {slowly, "504 bytes had come"},
		"never reads":                    {func(c net.Conn) { time.Sleep(5 * time.Second); c.Close() }, "504 nothing had come"},
		"interim answers without end":    {endlessly("HTTP/1.1 102 Processing\r\n\r\n"), "502 more than 5 interim answers"},
		"a head without end":             {endlessly("X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"), "502 it begins with"},
		"a head of many MB":              {answers(ok + "X: " + strings.Repeat("a", 8<<20) + "\r\n\r\n"), "502 its head is larger than 64 KiB"},
		"extensions of many MB":          {answers(chunked + "4;" + strings.Repeat("a", 8<<20) + "\r\n" + body + "\r\n0\r\n\r\n"), "502 chunk extensions"},
		"trailers of many MB":            {answers(chunked + "0\r\n" + strings.Repeat("X: a\r\n", 1<<20) + "\r\n"), "502 chunk extensions and trailers"},
		"both lengths":                   {answers(ok + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + body), "502 both a Content-Length and chunks"},
		"two lengths":                    {answers(ok + "Content-Length: 5\r\nContent-Length: 4\r\n\r\n" + body), "502 two lengths"},
		"a negative length":              {answers(ok + "Content-Length: -1\r\n\r\n" + body), "502 Content-Length"},
		"a length beyond measure":        {answers(ok + "Content-Length: 99999999999999999999\r\n\r\n" + body), "502 Content-Length"},
		"a chunk beyond measure":         {answers(chunked + "ffffffffffffffff\r\n" + body), "502 more than 15 digits"},
		"a length that never comes":      {answers(ok + "Content-Length: 999999999999999\r\n\r\n" + body), "502 cut short"},
		"a folded line":                  {answers(ok + "X: a\r\n b\r\n\r\n" + body), "502 a line of its head"},
		"a NUL":                          {answers(ok + "X: \x00\r\n\r\n" + body), "502 control characters"},
		"no HTTP":                        {answers("\x00\x01\x02 nonsense\r\n\r\n"), "502 not a valid HTTP answer"},
		"closes at accept":               {func(c net.Conn) { c.Close() }, "502 without answering"},
		"closes when asked":              {answers(""), "502 without answering"},
		"closes in the body":             {answers(length + "x"), "502 cut short"},
		"closes its sending side":        {func(c net.Conn) { c.(*net.UnixConn).CloseWrite(); io.Copy(io.Discard, c); c.Close() }, "502 without answering"},
		"closes its receiving side":      {func(c net.Conn) { c.(*net.UnixConn).CloseRead(); io.WriteString(c, length+body); c.Close() }, "200 x 1"},
		"speaks before it is asked":      {func(c net.Conn) { io.WriteString(c, length+body); afterRequest(c, ""); c.Close() }, "200 x 1"},
		"bytes after the end":            {answers(length + body + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nevil 1"), "200 x 1"},
		"HTTP/1.0":                       {answers("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body), "200 x 1"},
		"answers and closes, every time": {answers(length + body), "200 x 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sampleFolder(t)
			p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
			addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
			neighbour := dialAndScrape(t, addr, 10*time.Second)
			begin := ownCost(t, addr)
			descriptors, resident := taken(t, p)

			misbehaves(t, filepath.Join(dir, "hostile.sock"), tt.talk)
			timeout := 10 * time.Second
			if tt.want == "" || strings.HasPrefix(tt.want, "504") {
				timeout = 500 * time.Millisecond
			}
			var over atomic.Bool
			var scrapers sync.WaitGroup
			// A scrape has its answer a moment before it is counted out.
			for range limits.MaxScrapesPerTarget / 2 {
				scrapers.Go(func() {
					for again := true; again; again = !over.Load() {
						if got, took := scrapeHostile(t, addr, timeout); !isAsWanted(got, tt.want) || took > timeout+limits.ErrorWriteTimeout+patience() {
							t.Errorf("after %v: %.300q, want %q within %v", took, got, tt.want, timeout)
							return
						}
						time.Sleep(20 * time.Millisecond) // What the scrapers take is not to be measured.
					}
				})
			}
			if got := p99(t, neighbour); got > patience() {
				t.Errorf("a neighbour's scrape took %v in the 99th of a hundred cases", got)
			}
			if _, now := taken(t, p); now > resident+room()/2 {
				t.Errorf("%.0f MiB resident, before it were %.0f", now, resident)
			}
			over.Store(true)
			scrapers.Wait()
			eventually(t, func() error {
				if now, _ := taken(t, p); now > descriptors+2*limits.MaxIdlePipes {
					return fmt.Errorf("%d descriptors, before it were %d", now, descriptors)
				}
				// Those who look at the folder stay.
				if now := ownCost(t, addr); now.goroutines > begin.goroutines+limits.MaxScrapesPerTarget {
					return fmt.Errorf("%v, before it were %v", now, begin)
				}
				return nil
			})
		})
	}
}

// misbehaves listens at path and leaves each connection to talk.
func misbehaves(t *testing.T, path string, talk func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go talk(c)
		}
	}()
}

// A service can have much unpacked that is little as it comes, to count its series or to
// see that it is whole, each time as the length is never that of before. That takes no
// more than its turn.
func TestServicesToUnpack(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n"
	for name, length := range map[string]bool{"of a length": true, "to the end of the connection": false} {
		t.Run(name, func(t *testing.T) {
			dir := sampleFolder(t)
			var bodies [2]string
			for i := range bodies {
				bodies[i] = gzipped(strings.Repeat("a 1\n", (limits.MaxDecompressed-(1+2*i)<<20)/4))
			}
			var answered atomic.Int32
			misbehaves(t, filepath.Join(dir, "hostile.sock"), func(c net.Conn) {
				defer c.Close()
				body, framing := bodies[answered.Add(1)%2], ""
				if length {
					framing = fmt.Sprintf("Content-Length: %d\r\n", len(body))
				}
				afterRequest(c, head+framing+"\r\n"+body)
			})
			p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
			addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
			neighbour := dialAndScrape(t, addr, 10*time.Second)

			stop := make(chan struct{})
			var scrapers sync.WaitGroup
			for range limits.MaxScrapesPerTarget {
				scrapers.Go(func() {
					for !isClosed(stop) {
						scrapeHostile(t, addr, 5*time.Second)
					}
				})
			}
			got := p99(t, neighbour)
			close(stop)
			scrapers.Wait()
			t.Logf("a neighbour's p99: %v, beside %d answers", got, answered.Load())
			if got > patience() || answered.Load() < 20 {
				t.Errorf("a neighbour's scrape took %v in the 99th of a hundred cases, beside %d answers", got, answered.Load())
			}
		})
	}
}

// afterRequest sends answer when a request has come.
func afterRequest(c net.Conn, answer string) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		io.WriteString(c, answer)
	}
}

// slowly sends an answer that is fine, but a byte at a time.
func slowly(c net.Conn) {
	defer c.Close()
	for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + strings.Repeat("x 1\n", 100)) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// endlessly sends much of the same until nobody takes it.
func endlessly(same string) func(net.Conn) {
	much := []byte(strings.Repeat(same, 1000))
	return func(c net.Conn) {
		defer c.Close()
		for err := error(nil); err == nil; {
			_, err = c.Write(much)
		}
	}
}

// scrapeHostile scrapes hostile.sock. It returns the status and the body, nothing where
// these broke off.
func scrapeHostile(t *testing.T, addr string, timeout time.Duration) (answer string, took time.Duration) {
	begin := time.Now()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return "", 0
	}
	defer c.Close()
	c.SetDeadline(begin.Add(20 * time.Second))
	fmt.Fprintf(c, "GET /hostile HTTP/1.1\r\nHost: h\r\n%s: %v\r\n\r\n", scrape.TimeoutHeader, timeout.Seconds())
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", time.Since(begin)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", time.Since(begin)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body), time.Since(begin)
}

// isAsWanted reports whether answer has the status with which want begins, and the
// words that follow; or is none, as want.
func isAsWanted(answer, want string) bool {
	status, says, _ := strings.Cut(want, " ")
	return (answer == "") == (want == "") && strings.HasPrefix(answer, status) && strings.Contains(answer, says)
}
