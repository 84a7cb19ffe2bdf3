package scrape

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// What can be read in two ways is refused, whoever else would take it.
func TestHostileFraming(t *testing.T) {
	const body = "x 1\n"
	length := func(value string) string { return ok + plain + "Content-Length:" + value + "\r\n\r\n" + body }
	chunk := func(chunks string) string { return ok + plain + chunked + "\r\n" + chunks }
	for _, tt := range []struct{ name, response, says string }{
		{"a folded line", ok + "X: a\r\n b\r\n" + plain + "Content-Length: 4\r\n\r\n" + body, `a line of its head is " b"`},
		{"a space before the colon", ok + "Content-Length : 4\r\n\r\n" + body, "a line of its head"},
		{"a line without a colon", ok + "Content-Length 4\r\n\r\n" + body, "a line of its head"},
		{"a name with a NUL", ok + "X\x00: a\r\n\r\n", "a line of its head"},
		{"a value with a NUL", ok + "X: \x00\r\n\r\n", "control characters in its X"},
		{"a CR in a value", ok + "X: a\rContent-Length: 3\r\nContent-Length: 4\r\n\r\n" + body, "control characters in its X"},
		{"no status", "HTTP/1.1\r\n\r\n", "its status line is"},
		{"a long status", "HTTP/1.1 2000 OK\r\n\r\n", "its status line is"},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", "its status line is"},
		{"HTTP/1.10", "HTTP/1.10 200 OK\r\n\r\n", "it begins with"},
		{"HTTP/0.9", "HTTP/0.9 200 OK\r\n\r\n", "it speaks HTTP/0.9"},
		{"an empty length", length(""), `its Content-Length is ""`},
		{"a length with a sign", length("+4"), `its Content-Length is "+4"`},
		{"a hexadecimal length", length("0x4"), `its Content-Length is "0x4"`},
		{"a list of lengths", length("4, 4"), `its Content-Length is "4, 4"`},
		{"a length beyond measure", length("9223372036854775808"), "its Content-Length is"},
		{"length and chunks", ok + plain + chunked + "Content-Length: 4\r\n\r\n4\r\n" + body + "\r\n0\r\n\r\n", "both a Content-Length and chunks"},
		{"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\n" + plain + chunked + "\r\n4\r\n" + body + "\r\n0\r\n\r\n", "chunks in HTTP/1.0"},
		{"chunked twice", ok + plain + chunked + chunked + "\r\n0\r\n\r\n", "Transfer-Encoding"},
		{"another coding", ok + plain + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding"},
		{"identity", ok + plain + "Transfer-Encoding: identity\r\n\r\n", "Transfer-Encoding"},
		{"no size", chunk("\r\n" + body), "where its size should be"},
		{"a negative size", chunk("-4\r\n" + body), "where its size should be"},
		{"a size of 0x", chunk("0x4\r\n" + body), "in its size line"},
		{"a size beyond measure", chunk("ffffffffffffffff\r\n" + body), "more than 15 digits"},
		{"zeros without end", chunk(strings.Repeat("0", 20) + "4\r\n" + body), "more than 15 digits"},
		{"LF after the size", chunk("4\n" + body + "\n0\n\n"), "in its size line"},
		{"CR without LF after the size", chunk("4\rx" + body), `'x' where '\n' should be`},
		{"LF after the data", chunk("4\r\n" + body + "\n0\r\n\r\n"), `'\n' where '\r' should be`},
		{"LF after the last size", chunk("4\r\n" + body + "\r\n0\n\r\n"), "in its size line"},
		{"LF after a trailer", chunk("4\r\n" + body + "\r\n0\r\nX: y\n\r\n"), "malformed trailer"},
		{"LF at the end", chunk("4\r\n" + body + "\r\n0\r\n\n"), "malformed trailer"},
		{"CR without LF at the end", chunk("4\r\n" + body + "\r\n0\r\n\rx"), `'x' where '\n' should be`},
		{"more data than said", chunk("3\r\n" + body + "\r\n0\r\n\r\n"), `'\n' where '\r' should be`},
		{"a space before an extension", chunk("4 ;a\r\n" + body + "\r\n0\r\n\r\n"), `';' in its size line`},
		{"a NUL in an extension", chunk("4;a=\x00\r\n" + body + "\r\n0\r\n\r\n"), "in its size line"},
		{"extensions without end", chunk("4;" + strings.Repeat("a", limits.MaxChunkExtensionBytes+1) + "\r\n" + body + "\r\n0\r\n\r\n"), "chunk extensions and trailers"},
		{"trailers without end", chunk("0\r\n" + strings.Repeat("X: y\r\n", limits.MaxChunkExtensionBytes)), "chunk extensions and trailers"},
		{"a trailer that is none", chunk("0\r\nX y\r\n\r\n"), "malformed trailer"},
		{"a folded trailer", chunk("0\r\nX: y\r\n z: a\r\n\r\n"), "malformed trailer"},
		{"a length as a trailer", ok + plain + chunked + "Trailer: X, Content-Length\r\n\r\n0\r\nContent-Length: 3\r\n\r\n", "as a trailer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := listen(t, t.TempDir(), saysAndCloses(tt.response))
			c := newClient(t)
			got, _, err := p.scrape(t, c)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("body %q, error %v; want %v with %q", got, err, ErrInvalid, tt.says)
			}
		})
	}
}

// And what has one meaning only is taken, however it comes.
func TestOddFraming(t *testing.T) {
	const body = "x 1\n"
	for name, response := range map[string]string{
		"the same length twice":   ok + plain + "Content-Length: 4\r\ncontent-length: 4\r\n\r\n" + body,
		"LF in the head":          "HTTP/1.1 200 OK\nContent-Type: text/plain; version=0.0.4\nContent-Length: 4\n\n" + body,
		"no reason":               "HTTP/1.1 200\r\n" + plain + "Content-Length: 4\r\n\r\n" + body,
		"spaces around a value":   ok + "CONTENT-TYPE:\t text/plain; version=0.0.4 \t\r\nContent-Length:4\r\n\r\n" + body,
		"chunked in capitals":     ok + plain + "transfer-encoding: CHUNKED\r\n\r\n4\r\n" + body + "\r\n0\r\n\r\n",
		"spaces after a size":     ok + plain + chunked + "\r\n4 \t\r\n" + body + "\r\n0\r\n\r\n",
		"zeros before a size":     ok + plain + chunked + "\r\n0004\r\n" + body + "\r\n000\r\n\r\n",
		"an extension, a trailer": ok + plain + chunked + "\r\n4;a=\"b;c\"\r\n" + body + "\r\n0;d\r\nX-Sum: 1\r\nY:\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := listen(t, t.TempDir(), func(c net.Conn, _ int) bool {
				for i := range len(response) {
					if _, err := io.WriteString(c, response[i:i+1]); err != nil {
						return false
					}
				}
				return true
			})
			c := newClient(t)
			for range 2 {
				if got, a, err := p.scrape(t, c); got != body || err != nil || a.ContentType != "text/plain; version=0.0.4" {
					t.Errorf("body %q, %v; want %q", got, err, body)
				}
			}
			if n := p.accepted.Load(); n != 1 {
				t.Errorf("%d connections for 2 scrapes: the end of the body was not seen", n)
			}
		})
	}
}

// Chunks of every size, cut anywhere on their way, come out as what went in.
func TestChunksCutAnywhere(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 5000, limits.BufferSize, limits.MaxBufferedBody, 3 * limits.MaxBufferedBody} {
		body := strings.Repeat("some_metric_total{a=\"b\"} 1\n", size/26+1)[:size]
		var coded strings.Builder
		coded.WriteString(ok + plain + chunked + "\r\n")
		for rest := body; len(rest) > 0; {
			n := min(1+random.IntN(9000), len(rest))
			fmt.Fprintf(&coded, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		coded.WriteString("0\r\n\r\n")
		p := listen(t, t.TempDir(), func(c net.Conn, request int) bool {
			cuts := rand.New(rand.NewPCG(3, uint64(request)))
			for rest := coded.String(); len(rest) > 0; {
				n := min(1+cuts.IntN(70_000), len(rest))
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					return false
				}
				rest = rest[n:]
			}
			return true
		})
		c := newClient(t)
		for range 3 {
			if got, _, err := p.scrape(t, c); got != body || err != nil {
				t.Errorf("%d bytes: %d came, %v, the same: %v", size, len(got), err, got == body)
			}
		}
		if n := p.accepted.Load(); n != 1 {
			t.Errorf("%d bytes: %d connections for 3 scrapes", size, n)
		}
	}
}
