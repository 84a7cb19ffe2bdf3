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

// Whatever could be read in two ways is an error, even if others accept it.
func TestHostileFraming(t *testing.T) {
	const body = "x 1\n"
	length := func(value string) string { return okLine + plainType + "Content-Length:" + value + "\r\n\r\n" + body }
	chunk := func(chunks string) string { return okLine + plainType + chunkedCoding + "\r\n" + chunks }
	for _, tt := range []struct{ name, response, text string }{
		{"folded line", okLine + "X: a\r\n b\r\n" + plainType + "Content-Length: 4\r\n\r\n" + body, `a line of its head is " b"`},
		{"space before the colon", okLine + "Content-Length : 4\r\n\r\n" + body, "a line of its head"},
		{"line without a colon", okLine + "Content-Length 4\r\n\r\n" + body, "a line of its head"},
		{"NUL in a name", okLine + "X\x00: a\r\n\r\n", "a line of its head"},
		{"NUL in a value", okLine + "X: \x00\r\n\r\n", "a line of its head is \"X: "},
		{"CR in a value", okLine + "X: a\rContent-Length: 3\r\nContent-Length: 4\r\n\r\n" + body, "a line of its head is \"X: "},
		{"no status", "HTTP/1.1\r\n\r\n", "its status line is"},
		{"long status", "HTTP/1.1 2000 OK\r\n\r\n", "its status line is"},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", "its status line is"},
		{"HTTP/1.10", "HTTP/1.10 200 OK\r\n\r\n", "it speaks HTTP/1.10"},
		{"HTTP/0.9", "HTTP/0.9 200 OK\r\n\r\n", "it speaks HTTP/0.9"},
		{"empty length", length(""), `its Content-Length is ""`},
		{"length with a sign", length("+4"), `its Content-Length is "+4"`},
		{"hexadecimal length", length("0x4"), `its Content-Length is "0x4"`},
		{"list of lengths", length("4, 4"), `its Content-Length is "4, 4"`},
		{"length that overflows", length("9223372036854775808"), "its Content-Length is"},
		{"length and chunks", okLine + plainType + chunkedCoding + "Content-Length: 4\r\n\r\n4\r\n" + body + "\r\n0\r\n\r\n", "both a Content-Length and chunks"},
		{"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\n" + plainType + chunkedCoding + "\r\n4\r\n" + body + "\r\n0\r\n\r\n", "chunks in HTTP/1.0"},
		{"chunked twice", okLine + plainType + chunkedCoding + chunkedCoding + "\r\n0\r\n\r\n", "Transfer-Encoding"},
		{"other coding", okLine + plainType + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding"},
		{"identity", okLine + plainType + "Transfer-Encoding: identity\r\n\r\n", "Transfer-Encoding"},
		{"no size", chunk("\r\n" + body), "its size line is"},
		{"negative size", chunk("-4\r\n" + body), "its size line is"},
		{"size with 0x", chunk("0x4\r\n" + body), "its size line is"},
		{"size that overflows", chunk("ffffffffffffffff\r\n" + body), "its size line is"},
		{"too many zeros", chunk(strings.Repeat("0", 20) + "4\r\n" + body), "its size line is"},
		{"LF after the size", chunk("4\n" + body + "\n0\n\n"), "does not end in CRLF"},
		{"CR without LF after the size", chunk("4\rx" + body), "does not end in CRLF"},
		{"LF after the data", chunk("4\r\n" + body + "\n0\r\n\r\n"), "does not end in CRLF"},
		{"CR without LF after the data", chunk("4\r\n" + body + "\rx0\r\n\r\n"), "where its data should end"},
		{"LF after the last size", chunk("4\r\n" + body + "\r\n0\n\r\n"), "does not end in CRLF"},
		{"LF after a trailer", chunk("4\r\n" + body + "\r\n0\r\nX: y\n\r\n"), "does not end in CRLF"},
		{"LF at the end", chunk("4\r\n" + body + "\r\n0\r\n\n"), "does not end in CRLF"},
		{"CR without LF at the end", chunk("4\r\n" + body + "\r\n0\r\n\rx\r\n"), "malformed trailer"},
		{"data longer than the size", chunk("3\r\n" + body + "\r\n0\r\n\r\n"), "does not end in CRLF"},
		{"space before an extension", chunk("4 ;a\r\n" + body + "\r\n0\r\n\r\n"), "its size line is"},
		{"NUL in an extension", chunk("4;a=\x00\r\n" + body + "\r\n0\r\n\r\n"), "its size line is"},
		{"extensions too long", chunk("4;" + strings.Repeat("a", limits.MaxChunkExtensionBytes+1) + "\r\n" + body + "\r\n0\r\n\r\n"), "chunk extensions and trailers"},
		{"trailers too long", chunk("0\r\n" + strings.Repeat("X: y\r\n", limits.MaxChunkExtensionBytes)), "chunk extensions and trailers"},
		{"trailer without a colon", chunk("0\r\nX y\r\n\r\n"), "malformed trailer"},
		{"folded trailer", chunk("0\r\nX: y\r\n z: a\r\n\r\n"), "malformed trailer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), respondAndClose(tt.response))
			c := newClient(t)
			got, _, err := s.scrape(t, c)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("body %q, error %v; want %v with %q", got, err, ErrInvalid, tt.text)
			}
		})
	}
}

// Whatever has only one meaning is accepted, however unusual.
func TestUnusualFraming(t *testing.T) {
	const body = "x 1\n"
	for name, response := range map[string]string{
		"the same length twice": okLine + plainType + "Content-Length: 4\r\ncontent-length: 4\r\n\r\n" + body,
		"LF in the head":        "HTTP/1.1 200 OK\nContent-Type: text/plain; version=0.0.4\nContent-Length: 4\n\n" + body,
		"no reason":             "HTTP/1.1 200\r\n" + plainType + "Content-Length: 4\r\n\r\n" + body,
		"spaces around a value": okLine + "CONTENT-TYPE:\t text/plain; version=0.0.4 \t\r\nContent-Length:4\r\n\r\n" + body,
		"chunked in capitals":   okLine + plainType + "transfer-encoding: CHUNKED\r\n\r\n4\r\n" + body + "\r\n0\r\n\r\n",
		"spaces after a size":   okLine + plainType + chunkedCoding + "\r\n4 \t\r\n" + body + "\r\n0\r\n\r\n",
		"zeros before a size":   okLine + plainType + chunkedCoding + "\r\n0004\r\n" + body + "\r\n000\r\n\r\n",
		"extension, trailer":    okLine + plainType + chunkedCoding + "\r\n4;a=\"b;c\"\r\n" + body + "\r\n0;d\r\nX-Sum: 1\r\nY:\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
				for i := range len(response) {
					if _, err := io.WriteString(c, response[i:i+1]); err != nil {
						return false
					}
				}
				return true
			})
			c := newClient(t)
			for range 2 {
				if got, resp, err := s.scrape(t, c); got != body || err != nil || resp.ContentType != "text/plain; version=0.0.4" {
					t.Errorf("body %q, %v; want %q", got, err, body)
				}
			}
			if n := s.accepted.Load(); n != 1 {
				t.Errorf("%d connections for 2 scrapes, want 1: the end of the body was not found", n)
			}
		})
	}
}

// Chunks of any size are decoded, in whatever pieces they arrive.
func TestChunksInPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 5000, limits.BufferSize, limits.MaxBufferedBody, 3 * limits.MaxBufferedBody} {
		body := strings.Repeat("some_metric_total{a=\"b\"} 1\n", size/26+1)[:size]
		var encoded strings.Builder
		encoded.WriteString(okLine + plainType + chunkedCoding + "\r\n")
		for rest := body; len(rest) > 0; {
			n := min(1+random.IntN(9000), len(rest))
			fmt.Fprintf(&encoded, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		encoded.WriteString("0\r\n\r\n")
		s := startService(t, t.TempDir(), func(c net.Conn, n int) bool {
			cuts := rand.New(rand.NewPCG(3, uint64(n)))
			for rest := encoded.String(); len(rest) > 0; {
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
			if got, _, err := s.scrape(t, c); got != body || err != nil {
				t.Errorf("body of %d bytes: got %d bytes, %v; equal: %v", size, len(got), err, got == body)
			}
		}
		if n := s.accepted.Load(); n != 1 {
			t.Errorf("body of %d bytes: %d connections for 3 scrapes, want 1", size, n)
		}
	}
}
