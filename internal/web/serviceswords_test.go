package web

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// What a service writes stands in errors and in the log as printable text, and not at length:
// a terminal obeys control characters, and a reader is misled by text that runs backwards.
func TestServicesWordsArePrintable(t *testing.T) {
	const (
		ok    = "HTTP/1.1 200 OK\r\n"
		plain = "Content-Type: text/plain\r\n"
	)
	for words, hostile := range map[string]string{
		"an escape sequence":      "\x1b]0;evil\x07",
		"an 8-bit escape":         "\u009b2Jevil",
		"bytes that are no UTF-8": "evil\x9b\xff",
		"text that runs backward": "evil\u202elive",
		"a line separator":        "evil\u2028evil",
		"a lot of it":             strings.Repeat("evil", 4000),
	} {
		a := start(t)
		for name, response := range map[string]string{
			"start":     hostile + "\r\n\r\n",
			"status":    "HTTP/1.1 200" + hostile + "\r\n\r\n",
			"field":     ok + hostile + "\r\n\r\n",
			"type":      ok + "Content-Type: " + hostile + "\r\nContent-Length: 0\r\n\r\n",
			"charset":   ok + "Content-Type: text/html; charset=" + hostile + "\r\nContent-Length: 0\r\n\r\n",
			"length":    ok + "Content-Length: " + hostile + "\r\n\r\n",
			"transfer":  ok + "Transfer-Encoding: " + hostile + "\r\n\r\n",
			"encoding":  ok + plain + "Content-Encoding: " + hostile + "\r\n\r\nx",
			"trailer":   ok + "Trailer: Trailer, " + hostile + "\r\n\r\n",
			"location":  "HTTP/1.1 302 Found\r\nLocation: " + hostile + "\r\nContent-Length: 0\r\n\r\n",
			"reason":    "HTTP/1.1 500 " + hostile + "\r\nContent-Length: 0\r\n\r\n",
			"chunk":     ok + plain + "Transfer-Encoding: chunked\r\n\r\n" + hostile,
			"extension": ok + plain + "Transfer-Encoding: chunked\r\n\r\n1;" + hostile + "\r\nx\r\n0\r\n\r\n",
		} {
			a.raw(name, response)
			got := a.get("/" + name)
			if got.StatusCode == 200 {
				continue // The words are in no error then.
			}
			line := strings.TrimSuffix(got.body, "\n")
			if got.StatusCode != 502 || !printableText(line) || len(line) > 500 {
				t.Errorf("%s in %s: %d, %d bytes: %.600q", words, name, got.StatusCode, len(line), line)
			}
		}
		for line := range strings.Lines(a.log.String()) {
			if line = strings.TrimSuffix(line, "\n"); !printableText(line) || len(line) > 1000 {
				t.Errorf("%s in the log, %d bytes: %.600q", words, len(line), line)
			}
		}
	}
}

func printableText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
