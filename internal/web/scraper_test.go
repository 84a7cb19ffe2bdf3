package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
				t.Errorf("%d bytes%s: %d came, %v", size, framing, len(body), err)
			}
		}
	}
	if n := a.Connections(); n != 1 {
		t.Errorf("%d connections, want the one", n)
	}
}

// A large body comes whole, whatever the sizes of its chunks, and one that is cut
// never looks whole.
func TestCutLargeBodies(t *testing.T) {
	a := start(t)
	var response string
	l, err := net.Listen("unix", filepath.Join(a.dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, response)
			c.Close()
		}
	}()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	cuts := 0
	whole := func(what, head, framed, body string, cutAt ...int) {
		t.Helper()
		response = head + framed
		if got, err := a.body("/svc"); err != nil || got != body {
			t.Errorf("%s: %d bytes of %d, %v", what, len(got), len(body), err)
		}
		for _, cut := range cutAt {
			response = head + framed[:cut]
			if got, err := a.body("/svc"); err == nil || !strings.HasPrefix(body, got) {
				t.Errorf("%s, cut at %d: %d bytes of %d, %v", what, cut, len(got), len(body), err)
			}
			cuts++
			says := fmt.Sprintf("after %d bytes", len(response))
			eventually(t, "the page says "+says, func() bool { return strings.Contains(a.get("/").body, says) })
		}
	}
	sizes := []int{1, 100, 4 << 10, limits.BufferSize - 1, limits.BufferSize, limits.BufferSize + 1, 2*limits.BufferSize + 1, limits.MaxBufferedBody, 1 << 20}
	random := rand.New(rand.NewPCG(1, 2))
	for range 15 {
		var body, chunks strings.Builder
		var edges []int // where a chunk's data begins and ends
		for range 1 + random.IntN(6) {
			data := numbered(body.Len(), sizes[random.IntN(len(sizes))])
			fmt.Fprintf(&chunks, "%x\r\n", len(data))
			edges = append(edges, chunks.Len(), chunks.Len()+len(data))
			chunks.WriteString(data + "\r\n")
			body.WriteString(data)
		}
		chunks.WriteString("0\r\nX-Trailer: 1\r\n\r\n")
		all := chunks.Len()
		whole(fmt.Sprint("chunks that begin and end at ", edges), head+"Transfer-Encoding: chunked\r\n\r\n", chunks.String(), body.String(),
			edges[0], edges[len(edges)-1], edges[random.IntN(len(edges))]+random.IntN(3)-1, random.IntN(all), all-1)
	}
	for _, size := range []int{limits.MaxBufferedBody, limits.MaxBufferedBody + 1, 3 << 20} {
		text := numbered(0, size)
		whole(fmt.Sprintf("%d bytes", size), fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, size), text, text, 1, limits.BufferSize, size/2, size-1)
	}
	if got := a.metric(`aegis_scrapes_total{result="truncated",target="svc"}`); got != strconv.Itoa(cuts) {
		t.Errorf("%s counted as truncated of %d that were", got, cuts)
	}
}

// body is what a scrape of path brings over a connection that could be kept, an
// error if that is not the whole body.
func (a *aegis) body(path string) (string, error) {
	a.t.Helper()
	c := a.dial()
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path)
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

// numbered is n bytes of a text of which no two parts are alike, from a byte of
// it on.
func numbered(from, n int) string {
	text := make([]byte, 0, n+20)
	for i := from / 8; len(text) < n+8; i++ {
		text = fmt.Appendf(text, "%07d\n", i%1e7)
	}
	return string(text[from%8:][:n])
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
	io.WriteString(c, "GET /svc HTTP/1.1\r\nHost: h\r\n\r\n")
	eventually(t, "the scrape", func() bool { return a.Requests() == 1 })
	// Nobody watches for the hang-up yet (limits.HangUpCheckDelay).
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	close(answer)
	eventually(t, "the end of the scrape", func() bool { return a.Requests() == 0 })
	if got := a.metric(`aegis_scrapes_total{result="canceled",target="svc"}`); got != "1" {
		t.Errorf("%q scrapes counted as canceled, want 1; log:\n%s", got, a.log.String())
	}
}
