package scrape

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// head is what a scrape needs to know of the head of an answer (RFC 9112
// sections 4 and 5). Whatever can be read in two ways is refused, as the next
// reader may take the other.
type head struct {
	minor   byte // of the version, HTTP/1.minor
	status  int
	length  int64 // of the body; -1 where the head does not say
	chunked bool
	close   bool // the connection ends with this answer

	typed           bool
	contentType     string
	contentEncoding string
	location        string // of a redirect
}

// rawHead stands for the head that an answer without HTTP does not have.
var rawHead = head{status: http.StatusOK, length: -1, close: true}

// parseStatusLine begins a head.
func parseStatusLine(line []byte) (head, error) {
	h := head{length: -1}
	version, rest, _ := bytes.Cut(line, []byte(" "))
	if !isVersion(version) {
		return h, invalid("malformed HTTP: it begins with %.20q; what has no HTTP around its metrics needs protocol: raw in the targets file", line)
	}
	if version[5] != '1' || version[6] != '.' {
		return h, invalid("it speaks %s, a scrape HTTP/1.1", version)
	}
	h.minor = version[7] - '0'
	code, reason, _ := bytes.Cut(rest, []byte(" "))
	if len(code) != 3 || !digits(code) || !fieldText(reason) {
		return h, invalid("malformed HTTP: its status line is %.80q", line)
	}
	h.status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	return h, nil
}

// isVersion reports whether b is an HTTP-version (RFC 9112 section 2.3).
func isVersion(b []byte) bool {
	return len(b) == len("HTTP/1.1") && string(b[:5]) == "HTTP/" && digits(b[5:6]) && b[6] == '.' && digits(b[7:])
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// field adds a field line.
func (h *head) field(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	// A line that begins with a space is an obsolete fold: no token.
	if !ok || !token(name) {
		return invalid("malformed HTTP: a line of its head is %.80q", line)
	}
	value = bytes.Trim(value, " \t")
	if !fieldText(value) {
		return invalid("control characters in its %s", name)
	}
	switch len(name) {
	case len("Location"):
		if is(name, "Location") && h.status/100 == 3 {
			h.location = string(value)
		}
	case len("Connection"):
		if is(name, "Connection") {
			h.close = h.close || hasToken(value, "close")
		}
	case len("Content-Type"):
		if is(name, "Content-Type") && !h.typed {
			h.typed, h.contentType = true, interned(value)
		}
	case len("Content-Length"):
		if is(name, "Content-Length") {
			return h.setLength(value)
		}
	case len("Content-Encoding"): // as long as Transfer-Encoding is not
		if is(name, "Content-Encoding") {
			h.addEncoding(value)
		}
	case len("Transfer-Encoding"):
		if is(name, "Transfer-Encoding") {
			return h.setTransfer(value)
		}
	case len("Trailer"):
		if is(name, "Trailer") && (hasToken(value, "Transfer-Encoding") || hasToken(value, "Content-Length") || hasToken(value, "Trailer")) {
			return invalid("it announces %.80q as a trailer", value)
		}
	}
	return nil
}

func (h *head) setLength(value []byte) error {
	const most = 18 // digits, which an int64 holds whatever they are
	if len(value) > most || !digits(value) {
		return invalid("its Content-Length is %.40q", value)
	}
	var length int64
	for _, c := range value {
		length = 10*length + int64(c-'0')
	}
	if h.length >= 0 && h.length != length {
		return invalid("it has two lengths, %d and %d", h.length, length)
	}
	h.length = length
	return nil
}

func (h *head) setTransfer(value []byte) error {
	if h.chunked || !is(value, "chunked") {
		return invalid("its Transfer-Encoding is %.40q, or twice that; only chunked is known here", value)
	}
	h.chunked = true
	return nil
}

func (h *head) addEncoding(value []byte) {
	if h.contentEncoding != "" {
		h.contentEncoding += ", "
	}
	h.contentEncoding += interned(value)
}

// framed checks, when all lines are there, that they agree on where the body
// ends (RFC 9112 section 6.3).
func (h *head) framed() error {
	switch {
	case h.chunked && h.length >= 0:
		return invalid("it has both a Content-Length and chunks")
	case h.chunked && h.minor == 0:
		return invalid("it has chunks in HTTP/1.0")
	}
	h.close = h.close || h.minor == 0 || !h.chunked && h.length < 0
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, printable(fmt.Sprintf(format, args...)))
}

// is reports whether b is text, in whatever case its ASCII letters are.
func is(b []byte, text string) bool {
	if len(b) != len(text) {
		return false
	}
	for i := range len(text) {
		if b[i] != text[i] && (b[i]^text[i] != 0x20 || !letter(text[i])) {
			return false
		}
	}
	return true
}

// hasToken reports whether value, a list with commas, has text in it.
func hasToken(value []byte, text string) bool {
	for item := range bytes.SplitSeq(value, []byte(",")) {
		if is(bytes.Trim(item, " \t"), text) {
			return true
		}
	}
	return false
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// token reports whether b is a field name (RFC 9110 section 5.6.2).
func token(b []byte) bool {
	for _, c := range b {
		if !letter(c) && !('0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// fieldText reports whether b is text that a field may hold (RFC 9110 section
// 5.5).
func fieldText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// common are field values that most answers have: they need no memory of their
// own.
var common = []string{
	DefaultContentType,
	"text/plain; version=0.0.4",
	"text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
	"text/plain; version=0.0.4; charset=utf-8; escaping=values",
	"text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
	"application/openmetrics-text; version=1.0.0; charset=utf-8",
	"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
	"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values",
	"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
	"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8",
	"gzip",
	"zstd",
}

// interned is string(b).
func interned(b []byte) string {
	for _, s := range common {
		if string(b) == s {
			return s
		}
	}
	return string(b)
}
