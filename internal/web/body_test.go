package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/target"
)

// However a body fits into the buffers between service and scraper, it arrives complete, and
// so does the next one on the same connection.
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
	for _, around := range []int{0, 2 << 10, 4 << 10, 8 << 10, limits.BufferSize, limits.MaxBufferedBody, limits.MaxBufferedBody + limits.BufferSize} {
		for n := max(around-300, 0); n <= around+20; n += 1 + min(around, 20) {
			sizes = append(sizes, n)
		}
	}
	c := a.dial()
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
				t.Errorf("%d bytes%s: received %d, %v", size, framing, len(body), err)
			}
		}
	}
	// That connection, and the one that asks.
	if n := a.metric("aegis_scraper_connections"); n != "2" {
		t.Errorf("%s connections, want 2", n)
	}
}

// bodyTest scrapes a service that sends a response of the test's choice.
type bodyTest struct {
	*aegis
	response string
	cuts     int
}

func newBodyTest(t *testing.T) *bodyTest {
	b := &bodyTest{aegis: start(t)}
	b.accept(b.socket("svc"), func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, b.response)
	})
	return b
}

// check scrapes a response with a body, framed as framed, and again with framed cut short.
func (b *bodyTest) check(what, head, framed, body string, cutAt ...int) {
	b.t.Helper()
	b.response = head + framed
	if got, err := b.scrape(); err != nil || got != body {
		b.t.Errorf("%s: %d bytes of %d, %v", what, len(got), len(body), err)
	}
	for _, cut := range cutAt {
		b.response = head + framed[:cut]
		if got, err := b.scrape(); err == nil || !strings.HasPrefix(body, got) {
			b.t.Errorf("%s, cut at %d: %d bytes of %d, %v", what, cut, len(got), len(body), err)
		}
		b.cuts++
		after := fmt.Sprintf("after %d bytes", len(b.response))
		eventually(b.t, "the page says "+after, func() bool { return strings.Contains(b.get("/").body, after) })
	}
}

// scrape returns the body that a scrape brings, with an error if it is not complete.
func (b *bodyTest) scrape() (string, error) {
	b.t.Helper()
	c := b.dial()
	defer c.Close()
	io.WriteString(c, "GET /svc HTTP/1.1\r\nHost: h\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(string(data))
	}
	return string(data), err
}

// A large body arrives complete, whatever the sizes of its chunks, and one that is cut short
// never looks complete.
func TestCutLargeBodies(t *testing.T) {
	b := newBodyTest(t)
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	sizes := []int{1, 100, 4 << 10, limits.BufferSize - 1, limits.BufferSize, limits.BufferSize + 1, 2*limits.BufferSize + 1, limits.MaxBufferedBody, 1 << 20}
	random := rand.New(rand.NewPCG(1, 2))
	for range 15 {
		var body, chunks strings.Builder
		var edges []int // of each chunk's data
		for range 1 + random.IntN(6) {
			data := numbered(body.Len(), sizes[random.IntN(len(sizes))])
			fmt.Fprintf(&chunks, "%x\r\n", len(data))
			edges = append(edges, chunks.Len(), chunks.Len()+len(data))
			chunks.WriteString(data + "\r\n")
			body.WriteString(data)
		}
		chunks.WriteString("0\r\nX-Trailer: 1\r\n\r\n")
		all := chunks.Len()
		b.check(fmt.Sprint("chunks with edges at ", edges), head+"Transfer-Encoding: chunked\r\n\r\n", chunks.String(), body.String(),
			edges[0], edges[len(edges)-1], edges[random.IntN(len(edges))]+random.IntN(3)-1, random.IntN(all), all-1)
	}
	for _, size := range []int{limits.MaxBufferedBody, limits.MaxBufferedBody + 1, 3 << 20} {
		text := numbered(0, size)
		b.check(fmt.Sprintf("%d bytes", size), fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, size), text, text, 1, limits.BufferSize, size/2, size-1)
	}
	b.waitForScrapes(b.cuts, "svc", target.Truncated)
}

// numbered returns n bytes, from byte from on, of a text without two equal parts.
func numbered(from, n int) string {
	text := make([]byte, 0, n+20)
	for i := from / 8; len(text) < n+8; i++ {
		text = fmt.Appendf(text, "%07d\n", i%1e7)
	}
	return string(text[from%8:][:n])
}

// A response that breaks after it has begun fails for the scraper, too.
func TestBrokenStreamFails(t *testing.T) {
	a := start(t)
	large := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+100_000)
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	a.respond("length", head+"Content-Length: 9999999\r\n\r\n"+large)
	a.respond("chunked", head+"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"+large)
	for _, name := range []string{"length", "chunked"} {
		got := a.get("/" + name)
		if got.StatusCode != 200 || got.err == nil {
			t.Errorf("%s: status %d, %d bytes and no error reading them", name, got.StatusCode, len(got.body))
		}
		a.waitForScrapes(1, name, target.Truncated)
	}
	// For HTTP/1.0 the end of the connection is the end of the body, so Aegis sends none
	// that it cannot check first.
	if got, err := a.send("GET /chunked HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 505 ") || !strings.Contains(got, "use HTTP/1.1") {
		t.Errorf("with HTTP/1.0: %.80q, %v; want 505", got, err)
	}
	a.waitForScrapes(1, "chunked", target.Canceled)
	a.respond("small", head+"Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\n\r\n")
	if got, err := a.send("GET /small HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 200 ") || !strings.HasSuffix(got, "\r\n\r\nx 1\n") {
		t.Errorf("a small body with HTTP/1.0: %q, %v; want 200", got, err)
	}
}

func TestLargeBodiesArriveComplete(t *testing.T) {
	a := start(t)
	body := strings.Repeat("abcdefg 1\n", 500_000)
	a.service("length", large(body))
	a.service("chunked", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, body)
	})
	for _, name := range []string{"length", "chunked"} {
		for range 2 {
			if got := a.get("/" + name); got.body != body || got.err != nil {
				t.Errorf("%s: %d bytes of %d, %v", name, len(got.body), len(body), got.err)
			}
		}
	}
}

// If a service resets its connection in a body that the kernel splices, that is the service's
// failure and not the scraper's.
func TestResetInABody(t *testing.T) {
	a := start(t)
	a.accept(a.socket("svc"), func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9999999\r\n\r\n")
		io.WriteString(c, strings.Repeat("x 1\n", 500_000))
		// The request was not read, so closing c resets it.
	})
	for i, method := range []string{"GET", "HEAD"} {
		a.send(method + " /svc HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		a.waitForScrapes(i+1, "svc", target.Truncated)
	}
}
