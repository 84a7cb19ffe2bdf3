package scrape

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Every line of a chunked body ends in CRLF (RFC 9112 section 7.1). Another byte after the CR
// is refused: a reader that skips it and one that does not would see different bodies.
func TestChunkLineEndsInLF(t *testing.T) {
	large := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+1)
	for name, format := range map[string]string{
		"a chunk's size":      "%[1]x\r%[3]s%[2]s\r\n0\r\n\r\n",
		"a chunk's data":      "%[1]x\r\n%[2]s\r%[3]s0\r\n\r\n",
		"the last chunk":      "%[1]x\r\n%[2]s\r\n0\r%[3]s\r\n",
		"a trailer":           "%[1]x\r\n%[2]s\r\n0\r\nX-Sum: 1\r%[3]s\r\n",
		"the end of the body": "%[1]x\r\n%[2]s\r\n0\r\n\r%[3]s",
	} {
		for _, data := range []string{"x 1\n", large} {
			for _, lf := range []string{"\n", "?", " ", "\r", "\x00"} {
				t.Run(fmt.Sprintf("%q after the CR of %s, %d bytes", lf, name, len(data)), func(t *testing.T) {
					response := ok + plain + chunked + "\r\n" + fmt.Sprintf(format, len(data), data, lf)
					p := listen(t, t.TempDir(), saysAndCloses(response))
					body, _, err := p.scrape(t, newClient(t))
					if lf == "\n" && (err != nil || body != data) {
						t.Errorf("%d bytes and error %v, want the body of %d bytes", len(body), err, len(data))
					}
					if lf != "\n" && !errors.Is(err, ErrInvalid) {
						t.Errorf("error %v, want %v", err, ErrInvalid)
					}
				})
			}
		}
	}
}
