package scrape

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

const (
	plain   = "Content-Type: text/plain; version=0.0.4\r\n"
	ok      = "HTTP/1.1 200 OK\r\n"
	chunked = "Transfer-Encoding: chunked\r\n"
)

func TestAnswers(t *testing.T) {
	big := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+1000)
	for _, tt := range []struct {
		name     string
		response string
		body     string
		kind     string // Content-Type; plain's where empty
		encoding string
		err      error
		says     string
	}{
		{name: "length", response: ok + plain + "Content-Length: 4\r\n\r\nx 1\n", body: "x 1\n"},
		{name: "chunked", response: ok + plain + chunked + "\r\n2\r\nx \r\n2\r\n1\n\r\n0\r\n\r\n", body: "x 1\n"},
		{name: "chunk extensions and a trailer", response: ok + plain + chunked + "\r\n4;a=b\r\nx 1\n\r\n0\r\nX-Sum: 1\r\n\r\n", body: "x 1\n"},
		{name: "to the end of the connection", response: ok + plain + "\r\nx 1\n", body: "x 1\n"},
		{name: "HTTP/1.0", response: "HTTP/1.0 200 OK\r\n" + plain + "\r\nx 1\n", body: "x 1\n"},
		{name: "empty", response: ok + plain + "Content-Length: 0\r\n\r\n", body: ""},
		{name: "interim answers first", response: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", limits.MaxInterimResponses) + ok + plain + "Content-Length: 4\r\n\r\nx 1\n", body: "x 1\n"},
		{name: "no type", response: ok + "Content-Length: 4\r\n\r\nx 1\n", body: "x 1\n", kind: DefaultContentType},
		{name: "gzip", response: ok + plain + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b<", body: "\x1f\x8b<", encoding: "gzip"},
		{name: "protobuf", response: ok + "Content-Type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited\r\nContent-Length: 3\r\n\r\n\x00<{", body: "\x00<{", kind: "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"},
		{name: "OpenMetrics", response: ok + "Content-Type: application/openmetrics-text; version=1.0.0\r\nContent-Length: 6\r\n\r\n# EOF\n", body: "# EOF\n", kind: "application/openmetrics-text; version=1.0.0"},
		{name: "a quoted metric name is no JSON", response: ok + plain + "Content-Length: 11\r\n\r\n{\"a.b\"} 1\n\n", body: "{\"a.b\"} 1\n\n"},
		{name: "large, length", response: ok + plain + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(big)) + big, body: big},
		{name: "large, chunked", response: ok + plain + chunked + fmt.Sprintf("\r\n%x\r\n", len(big)) + big + "\r\n0\r\n\r\n", body: big},
		{name: "large, to the end of the connection", response: ok + plain + "\r\n" + big, body: big},
		{name: "as large as is gathered", response: ok + plain + "\r\n" + big[:limits.MaxBufferedBody], body: big[:limits.MaxBufferedBody]},

		{name: "another status", response: "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", err: ErrStatus, says: "503 Service Unavailable"},
		{name: "no /metrics", response: "HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n", err: ErrStatus, says: "serves no /metrics"},
		{name: "a redirect", response: "HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n", err: ErrStatus, says: `a redirect to "http://evil/", and Aegis follows none`},
		{name: "no content", response: "HTTP/1.1 204 No Content\r\n\r\n", err: ErrStatus},
		{name: "HTML", response: ok + "Content-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>\n", err: ErrNotMetrics, says: "text/html"},
		{name: "JSON", response: ok + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", err: ErrNotMetrics, says: "application/json"},
		{name: "HTML of type Text/Plain", response: ok + "Content-Type: Text/Plain\r\nContent-Length: 6\r\n\r\n<html>", err: ErrNotMetrics, says: "HTML"},
		{name: "HTML without a type", response: ok + "Content-Length: 12\r\n\r\n\n<!DOCTYPE h>", err: ErrNotMetrics, says: "HTML"},
		{name: "JSON said to be text", response: ok + plain + "Content-Length: 12\r\n\r\n{\"up\": true}", err: ErrNotMetrics, says: "JSON"},
		{name: "large HTML without a type", response: ok + "Content-Length: 9999999\r\n\r\n<html>" + big, err: ErrNotMetrics, says: "HTML"},
		{name: "HTML behind a head that fills its block", response: ok + plain + filler(limits.BufferSize-len(ok+plain)-2) + "\r\n<html>", err: ErrNotMetrics, says: "HTML"},
		{name: "a control character in the type", response: ok + "Content-Type: text/plain; a=\x01\r\nContent-Length: 0\r\n\r\n", err: ErrInvalid},
		{name: "not HTTP", response: "SSH-2.0-OpenSSH_9.2\r\n", err: ErrInvalid, says: "malformed HTTP"},
		{name: "escape sequences in the fault", response: "\x1b[2J\x07 evil\r\n\r\n", err: ErrInvalid},
		{name: "HTTP/2", response: "HTTP/2.0 200 OK\r\n\r\n", err: ErrInvalid, says: "HTTP/2.0"},
		{name: "switching protocols", response: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", err: ErrInvalid},
		{name: "interim answers without end", response: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", limits.MaxInterimResponses+1) + ok + "\r\n", err: ErrInvalid, says: "interim"},
		{name: "two lengths", response: ok + plain + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nx 1\n", err: ErrInvalid},
		{name: "a negative length", response: ok + plain + "Content-Length: -4\r\n\r\nx 1\n", err: ErrInvalid},
		{name: "a bad chunk", response: ok + plain + chunked + "\r\nzz\r\nx 1\n\r\n0\r\n\r\n", err: ErrInvalid},
		{name: "a head too large", response: ok + "X: " + strings.Repeat("a", limits.MaxResponseHead) + "\r\n\r\n", err: ErrInvalid, says: "64 KiB"},
		{name: "nothing", response: "", err: ErrTruncated, says: "without answering"},
		{name: "half a head", response: ok + "Content-Ty", err: ErrTruncated},
		{name: "half a length", response: ok + plain + "Content-Length: 9\r\n\r\nx 1\n", err: ErrTruncated},
		{name: "broken off, to the end of the connection", response: ok + plain + "\r\nx 1\nlonger{a=\"b\"} 12", err: ErrTruncated, says: "in the middle of a line"},
		{name: "large, broken off", response: ok + plain + "\r\n" + big + "y 1", err: ErrTruncated, says: "in the middle of a line"},
		{name: "gzip, to the end of the connection", response: ok + plain + "Content-Encoding: gzip\r\n\r\n" + gzipped("x 1\n"), body: gzipped("x 1\n"), encoding: "gzip"},
		{name: "no gzip, to the end of the connection", response: ok + plain + "Content-Encoding: gzip\r\n\r\n" + "x 1, and no more than that\n", err: ErrInvalid, says: "cannot be unpacked"},
		{name: "large gzip, to the end of the connection", response: ok + plain + "Content-Encoding: gzip\r\n\r\n" + big, err: ErrInvalid, says: "gzip of more than 256 KiB"},
		{name: "a bomb, to the end of the connection", response: ok + plain + "Content-Encoding: gzip\r\n\r\n" + gzipped(strings.Repeat("\n", limits.MaxDecompressed)), err: ErrInvalid, says: "more than 16 MiB"},
		{name: "large protobuf, to the end of the connection", response: ok + "Content-Type: " + protobufType + "\r\n\r\n" + big, err: ErrInvalid, says: "protobuf of more than 256 KiB"},
		{name: "brotli, to the end of the connection", response: ok + plain + "Content-Encoding: br\r\n\r\nx", err: ErrInvalid, says: "its body is br, and nothing but"},
		{name: "nothing, to the end of the connection", response: ok + plain + "\r\n", err: ErrTruncated, says: "before its body"},
		{name: "large OpenMetrics, to the end of the connection", response: ok + "Content-Type: " + openMetricsType + "\r\n\r\n" + big, err: ErrTruncated, says: "before # EOF"},
		{name: "half the chunks", response: ok + plain + chunked + "\r\n4\r\nx 1\n\r\n", err: ErrTruncated},
		{name: "half a large length", response: ok + plain + "Content-Length: 9999999\r\n\r\n" + big, err: ErrTruncated},
		{name: "half a large chunk", response: ok + plain + chunked + "\r\nfffffff\r\n" + big, err: ErrTruncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := listen(t, t.TempDir(), saysAndCloses(tt.response))
			c := newClient(t)
			body, a, err := p.scrape(t, c)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.says) || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
					t.Errorf("error %q should say %q, and that in one line", err, tt.says)
				}
			} else {
				want := Response{ContentType: tt.kind, ContentEncoding: tt.encoding}
				if want.ContentType == "" {
					want.ContentType = "text/plain; version=0.0.4"
				}
				if a.ContentType != want.ContentType || a.ContentEncoding != want.ContentEncoding {
					t.Errorf("type %q, encoding %q; want %q, %q", a.ContentType, a.ContentEncoding, want.ContentType, want.ContentEncoding)
				}
				if body != tt.body {
					t.Errorf("body of %d bytes, %.40q; want %d bytes, %.40q", len(body), body, len(tt.body), tt.body)
				}
			}
			if n := c.InFlight(); n != 0 {
				t.Errorf("%d scrapes in flight afterwards", n)
			}
		})
	}
}

// What a service may send, in numbers, so that those of package limits do not change
// unseen.
func TestBounds(t *testing.T) {
	interim := func(n int) string {
		return strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", n) + answer("x 1\n")
	}
	head := func(size int) string {
		const rest = plain + "Content-Length: 4\r\n\r\n"
		return ok + filler(size-len(ok+rest)) + rest + "x 1\n"
	}
	// What counts of two chunks and a trailer is ";a" and "X:a".
	extra := func(extension, trailer int) string {
		chunk := func(data string) string {
			return fmt.Sprintf("%x;%s\r\n%s\r\n", len(data), strings.Repeat("a", extension/2-1), data)
		}
		return ok + plain + chunked + "\r\n" + chunk("x ") + chunk("1\n") + "0\r\nX:" + strings.Repeat("a", trailer-2) + "\r\n\r\n"
	}
	for _, tt := range []struct {
		name     string
		response string
		err      error
	}{
		{"5 interim answers", interim(5), nil},
		{"6 interim answers", interim(6), ErrInvalid},
		{"a head of 64 KiB", head(64 << 10), nil},
		{"a head of 64 KiB and a byte", head(64<<10 + 1), ErrInvalid},
		{"chunk extensions that make 2 KiB", extra(2<<10-2, 2), nil},
		{"chunk extensions that make more", extra(2<<10, 2), ErrInvalid},
		{"a trailer that makes 2 KiB", extra(2, 2<<10-2), nil},
		{"a trailer that makes more", extra(2, 2<<10-1), ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := listen(t, t.TempDir(), saysAndCloses(tt.response))
			body, _, err := p.scrape(t, newClient(t))
			if !errors.Is(err, tt.err) || err == nil && body != "x 1\n" {
				t.Errorf("body %q, %v; want %v", body, err, tt.err)
			}
		})
	}
}

// What shows that a body is no exposition may come late, and byte by byte.
func TestNotMetricsInPieces(t *testing.T) {
	const html = " \n<html>"
	body := html + strings.Repeat("x 1\n", limits.MaxBufferedBody/4)
	for name, head := range map[string]string{
		"a length":      plain + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)),
		"a chunk":       plain + chunked + fmt.Sprintf("\r\n%x\r\n", len(body)),
		"until the end": plain + "\r\n",
	} {
		s := stream{sent: []byte(ok + head + body)}
		if err := s.scrapeTo(t, io.Discard, make([]byte, len(ok+head+html))); !errors.Is(err, ErrNotMetrics) {
			t.Errorf("%s: %v, want %v", name, err, ErrNotMetrics)
		}
	}
}

// filler is a field of a head that takes length bytes.
func filler(length int) string {
	return "X: " + strings.Repeat("a", length-len("X: \r\n")) + "\r\n"
}

// Cut short anywhere, an answer whose framing says where it ends is an error.
// Whatever comes of an answer, it is an error, but where nobody could tell.
func TestCutAtEveryByte(t *testing.T) {
	const protobuf = "Content-Type: " + protobufType + "\r\n"
	const open = "Content-Type: " + openMetricsType + "\r\n"
	for name, tt := range map[string]struct {
		head, body string
		told       []int // lengths to which the body may be cut, and nobody could tell
	}{
		"length":                          {head: plain + "Content-Length: 8\r\n\r\n", body: "x 1\ny 2\n"},
		"chunks":                          {head: plain + chunked + "\r\n", body: "4\r\nx 1\n\r\n4\r\ny 2\n\r\n0\r\n\r\n"},
		"to the end, text":                {head: plain + "\r\n", body: "x 1\ny 2\n", told: []int{4}},
		"to the end, OpenMetrics":         {head: open + "\r\n", body: "x 1\ny 2\n# EOF\n", told: []int{13}},
		"to the end, protobuf":            {head: protobuf + "\r\n", body: "\x03abc\x81\x01" + strings.Repeat("d", 129), told: []int{4}},
		"to the end, gzip":                {head: plain + "Content-Encoding: gzip\r\n\r\n", body: gzipped("x 1\ny 2\n")},
		"to the end, protobuf in gzip":    {head: protobuf + "Content-Encoding: gzip\r\n\r\n", body: gzipped("\x03abc")},
		"to the end, OpenMetrics in gzip": {head: open + "Content-Encoding: gzip\r\n\r\n", body: gzipped("# EOF\n")},
	} {
		t.Run(name, func(t *testing.T) {
			whole := ok + tt.head + tt.body
			c := newClient(t)
			for cut := range len(whole) + 1 {
				p := listen(t, t.TempDir(), saysAndCloses(whole[:cut]))
				body, _, err := p.scrape(t, c)
				fine := cut == len(whole) || slices.Contains(tt.told, cut-len(ok+tt.head))
				if !fine && !errors.Is(err, ErrTruncated) || fine && err != nil {
					t.Errorf("cut to %q: body %q, error %v", whole[:cut], body, err)
				}
				p.Close()
			}
		})
	}
}

func TestLookingThroughIsBounded(t *testing.T) {
	p := listen(t, t.TempDir(), saysAndCloses(ok+plain+"Content-Encoding: gzip\r\n\r\n"+gzipped("x 1\n")))
	c := newClient(t)
	looking.Add(limits.MaxEOFChecks)
	if _, _, err := p.scrape(t, c); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more than may be looked through: %v, want %v", err, ErrTooMany)
	}
	looking.Add(-limits.MaxEOFChecks)
	if _, _, err := p.scrape(t, c); err != nil {
		t.Error(err)
	}
}

func gzipped(text string) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name string
		talk func(net.Conn, int) bool
	}{
		{"before the head", hangs("")},
		{"in the head", hangs("HTTP/1.1 200")},
		{"in the body", hangs(ok + plain + "Content-Length: 9\r\n\r\nx 1\n")},
		{"in a large body", hangs(ok + plain + "Content-Length: 9999999\r\n\r\nx 1\n")},
		{"in a chunk", hangs(ok + plain + chunked + "\r\n9\r\nx 1\n")},
		{"a byte now and then", func(c net.Conn, _ int) bool {
			for {
				if _, err := io.WriteString(c, "H"); err != nil {
					return false
				}
				time.Sleep(5 * time.Millisecond)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := listen(t, t.TempDir(), tt.talk)
			c := newClient(t)
			_, _, err := scrapeSocket(t.Context(), c, p.socket(t), scraper(t, "", 50*time.Millisecond))
			if !errors.Is(err, ErrTimeout) {
				t.Errorf("error %v, want %v", err, ErrTimeout)
			}
			if n := c.Connections(); n != 0 {
				t.Errorf("%d connections left open", n)
			}
		})
	}
}

// A scraper that hangs up must not leave anything waiting for the service.
func TestCancel(t *testing.T) {
	for name, start := range map[string]string{
		"before the head": "",
		"in the body":     ok + plain + "Content-Length: 9\r\n\r\nx 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := listen(t, t.TempDir(), hangs(start))
			c := newClient(t)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-p.requests; cancel() }()
			_, _, err := scrapeSocket(ctx, c, p.socket(t), scraper(t, "", time.Minute))
			if !errors.Is(err, ErrCanceled) {
				t.Errorf("error %v, want %v", err, ErrCanceled)
			}
			if c.Connections() != 0 || c.InFlight() != 0 {
				t.Errorf("%d connections and %d scrapes left", c.Connections(), c.InFlight())
			}
		})
	}
}

// A connection whose scraper is gone when the answer is read is not kept: what ends
// its scrape may come late, and end another's.
func TestCancelAfterTheAnswer(t *testing.T) {
	p := listen(t, t.TempDir(), says(answer("x 1\n")))
	c := newClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	a, err := c.Get(ctx, p.socket(t), scraper(t, "", time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	a.WriteTo(io.Discard)
	a.Close()
	if n := c.Connections(); n != 0 {
		t.Errorf("%d connections kept", n)
	}
}

// What answers take of memory is bounded for all scrapes together, and does not
// follow what is announced.
func TestMemoryIsBounded(t *testing.T) {
	const most = 96 << 20 // as limits.MaxBufferedTotal is to be
	before := blocksInUse.Load()
	var held []*block
	for {
		b, err := takeBlock()
		if err != nil {
			if !errors.Is(err, ErrTooMany) {
				t.Errorf("error %v, want %v", err, ErrTooMany)
			}
			break
		}
		if held = append(held, b); len(held) > most/len(b) {
			t.Fatalf("%d blocks of %d bytes are held, more than %d bytes", len(held), len(b), most)
		}
	}
	if got := blocksInUse.Load() * int64(len(block{})); got != most {
		t.Errorf("%d bytes may be held, want %d", got, most)
	}
	p := listen(t, t.TempDir(), says(ok+plain+"Content-Length: 1\r\n\r\n1"))
	c := newClient(t)
	if _, _, err := p.scrape(t, c); !errors.Is(err, ErrTooMany) {
		t.Errorf("a scrape beyond: %v, want %v", err, ErrTooMany)
	}
	for _, b := range held {
		giveBlock(b)
	}
	p = listen(t, t.TempDir(), hangs(fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n1", ok, plain, limits.MaxBufferedBody)))
	done := make(chan error)
	go func() {
		_, _, err := scrapeSocket(t.Context(), c, p.socket(t), scraper(t, "", 200*time.Millisecond))
		done <- err
	}()
	eventually(t, "a block for what has come", func() bool { return blocksInUse.Load() > before })
	if n := blocksInUse.Load() - before; n != 1 {
		t.Errorf("%d blocks for an answer that has only begun, want 1", n)
	}
	<-done
	if n := blocksInUse.Load(); n != before {
		t.Errorf("%d blocks in use when all is given back, before it were %d", n, before)
	}
}

// Of an answer that streams one block is held, once what was gathered is written.
func TestMemoryOfAStream(t *testing.T) {
	big := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+limits.BufferSize)
	chunk := func(data string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(data), data) }
	const few = 100_000 // per chunk that is not known to be of a large body
	for name, response := range map[string]string{
		"copied":  ok + plain + "\r\n" + big,
		"spliced": ok + plain + chunked + "\r\n" + chunk(big[:few]) + chunk(big[few:2*few]) + chunk(big[2*few:]) + "0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			before := blocksInUse.Load()
			p := listen(t, t.TempDir(), saysAndCloses(response))
			c := newClient(t)
			t.Cleanup(closePipes)
			a, err := c.Get(t.Context(), p.socket(t), scraper(t, "", 5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			w := &blockCounter{}
			if n, err := a.WriteTo(w); n != int64(len(big)) || err != nil {
				t.Errorf("%d bytes of %d, %v", n, len(big), err)
			}
			if got := w.last - before; got != 1 {
				t.Errorf("%d blocks are held at the end of a stream, want 1", got)
			}
		})
	}
}

// blockCounter counts the blocks in use when it was last written to, from a pipe if it
// ever is.
type blockCounter struct {
	spliced
	last int64
}

func (c *blockCounter) WriteAll(parts [][]byte) (int64, error) {
	if c.pipes == 0 {
		c.last = blocksInUse.Load()
	}
	return c.spliced.WriteAll(parts)
}

func (c *blockCounter) Splice(pipe, n int) (int64, error) {
	c.last = blocksInUse.Load()
	return c.spliced.Splice(pipe, n)
}

// failing is a scraper whose connection breaks after n bytes.
type failing struct{ n int }

func (f *failing) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errors.New("broken")
	}
	return len(p), nil
}

func TestWriteErrorsAreTheScrapers(t *testing.T) {
	big := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+100_000)
	p := listen(t, t.TempDir(), says(ok+plain+chunked+fmt.Sprintf("\r\n%x\r\n", len(big))+big+"\r\n0\r\n\r\n"))
	c := newClient(t)
	for _, n := range []int{0, limits.MaxBufferedBody + 200_000} {
		a, err := c.Get(t.Context(), p.socket(t), scraper(t, "", 5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.WriteTo(&failing{n}); !errors.Is(err, ErrCanceled) {
			t.Errorf("broken after %d bytes: %v, want %v", n, err, ErrCanceled)
		}
		a.Close()
		if c.Connections() != 0 {
			t.Error("a connection with half an answer in it was kept")
		}
	}
}
