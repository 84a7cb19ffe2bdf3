package scrape

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// responseHead is what a scrape needs to know of the head of a response (RFC 9112 sections 4 and
// 5). Whatever could be read in two ways is an error, as the next parser may choose the other way.
type responseHead struct {
	http10  bool // the version is HTTP/1.0, not HTTP/1.1
	status  int
	length  int64 // of the body; -1 if the head has none
	chunked bool
	close   bool // the connection ends with this response

	contentType     string
	contentEncoding string
	location        string // of a redirect
}

// readHead reads the head of the response and skips interim ones (RFC 9110 section 15.2).
func (rt *roundTrip) readHead() (responseHead, error) {
	if rt.req.Protocol == Raw {
		return responseHead{length: -1, close: true}, nil
	}
	for range 1 + limits.MaxInterimResponses {
		h, err := rt.readOneHead()
		switch {
		case err != nil:
			return h, err
		case h.status == http.StatusSwitchingProtocols:
			return h, invalidf("it switched protocols, and Aegis did not request that")
		case h.status == http.StatusOK:
			return h, h.validateFraming()
		case h.status < 100 || h.status > 199:
			return h, rt.statusError(h)
		}
	}
	return responseHead{}, invalidf("it sent more than %d interim responses (1xx)", limits.MaxInterimResponses)
}

func (rt *roundTrip) readOneHead() (responseHead, error) {
	line, err := rt.readLine()
	if err != nil {
		return responseHead{}, err
	}
	h, err := parseStatusLine(line)
	for err == nil {
		if line, err = rt.readLine(); err == nil {
			if len(line) == 0 {
				return h, nil
			}
			err = h.addField(line)
		}
	}
	return h, err
}

// readLine returns the next line of the head without its line ending. The line is valid
// while rt.buf is.
func (rt *roundTrip) readLine() ([]byte, error) {
	for searched := rt.start; ; {
		if rt.start == 0 && rt.end > 0 && rt.buf[0] != 'H' {
			if err := checkProtocol(rt.buf[:rt.end]); err != nil {
				return nil, err
			}
		}
		if i := bytes.IndexByte(rt.buf[searched:rt.end], '\n'); i >= 0 {
			line := rt.buf[rt.start : searched+i]
			rt.start = searched + i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		searched = rt.end
		if rt.end == len(rt.buf) {
			return nil, invalidf("its head is larger than %d KiB", limits.MaxResponseHead>>10)
		}
		if err := rt.fill(); err != nil && rt.end == searched {
			return nil, rt.readError(err)
		}
	}
}

// parseStatusLine returns a head with the version and status of line.
func parseStatusLine(line []byte) (responseHead, error) {
	version, rest, _ := bytes.Cut(line, []byte(" "))
	h := responseHead{length: -1, http10: string(version) == "HTTP/1.0"}
	switch {
	case !bytes.HasPrefix(version, []byte("HTTP/")):
		return h, invalidf("malformed HTTP: it begins with %.20q; "+
			"if the service writes its metrics without HTTP, set protocol: raw in the targets file", line)
	case !h.http10 && string(version) != "HTTP/1.1":
		return h, invalidf("it speaks %.20s, and Aegis speaks HTTP/1.1", version)
	}
	code, reason, _ := bytes.Cut(rest, []byte(" "))
	status, err := strconv.ParseUint(string(code), 10, 16)
	if err != nil || len(code) != 3 || !isFieldText(reason) {
		return h, invalidf("malformed HTTP: its status line is %.80q", line)
	}
	h.status = int(status)
	return h, nil
}

// addField parses a field line and stores what a scrape needs of it.
func (h *responseHead) addField(line []byte) error {
	name, value, ok := cutField(line)
	switch {
	case !ok:
		return invalidf("malformed HTTP: a line of its head is %.80q", line)
	case equalFold(name, "Content-Type") && h.contentType == "":
		h.contentType = string(value)
	case equalFold(name, "Content-Encoding"):
		if h.contentEncoding != "" {
			h.contentEncoding += ", "
		}
		h.contentEncoding += string(value)
	case equalFold(name, "Content-Length"):
		return h.setLength(value)
	case equalFold(name, "Transfer-Encoding"):
		if h.chunked || !equalFold(value, "chunked") {
			return invalidf("its Transfer-Encoding is %.40q; Aegis supports chunked only, and once only", value)
		}
		h.chunked = true
	case equalFold(name, "Connection"):
		for option := range bytes.SplitSeq(value, []byte(",")) {
			h.close = h.close || equalFold(bytes.Trim(option, " \t"), "close")
		}
	case equalFold(name, "Location"):
		h.location = string(value)
	}
	return nil
}

func (h *responseHead) setLength(value []byte) error {
	length, err := strconv.ParseUint(string(value), 10, maxLengthBits)
	if err != nil {
		return invalidf("its Content-Length is %.40q", value)
	}
	if h.length >= 0 && h.length != int64(length) {
		return invalidf("it has two lengths, %d and %d", h.length, length)
	}
	h.length = int64(length)
	return nil
}

// validateFraming checks that the fields agree on where the body ends (RFC 9112 section
// 6.3). It must be called after the last one was added.
func (h *responseHead) validateFraming() error {
	switch {
	case h.chunked && h.length >= 0:
		return invalidf("it has both a Content-Length and chunks")
	case h.chunked && h.http10:
		return invalidf("it has chunks in HTTP/1.0")
	}
	h.close = h.close || h.http10 || !h.chunked && h.length < 0
	return nil
}

const noCredentials = "its metrics need credentials, and Aegis passes none on"

const forbidden = "either " + noCredentials + ", or its address rules lack the socket (nginx: allow unix:)"

// StatusError is an ErrStatus.
type StatusError struct {
	error
	Line string // the first of what the service sent to explain it; hostile text
}

func (e *StatusError) Unwrap() error { return e.error }

// statusError returns a StatusError that says what the status of h means and what to do.
func (rt *roundTrip) statusError(h responseHead) error {
	path, body := rt.req.Path, rt.peekBody(h)
	advice := "check the service's own log"
	switch h.status {
	case http.StatusBadRequest, http.StatusMisdirectedRequest:
		advice += rt.req.hostAdvice()
		// Servers of Go and nginx that expect TLS mention HTTPS.
		if bytes.Contains(body, []byte("HTTPS")) {
			advice = speaksTLS
		}
	case http.StatusNotFound:
		advice = fmt.Sprintf("it serves no %s on this socket; %s%s", path, pathAdvice, rt.req.hostAdvice())
	case http.StatusUnauthorized:
		advice = noCredentials
	case http.StatusForbidden:
		advice = forbidden + rt.req.hostAdvice()
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		advice = fmt.Sprintf("it is a redirect to %q, and Aegis follows none; %s", printable(h.location), pathAdvice)
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(body), []byte("\n"))
	if bytes.HasPrefix(line, []byte("<")) { // HTML explains nothing in its first line.
		line = nil
	}
	err := fmt.Errorf("%w: GET %s returned %d %s; %s", ErrStatus, path, h.status, http.StatusText(h.status), advice)
	return &StatusError{err, printable(string(bytes.TrimSpace(line)))}
}

// peekBody returns the beginning of the body that follows h, decompressed, sniffLen bytes at most. It reads
// as much of the rest as comes within limits.PeekTimeout, because a service that is still writing when Aegis
// closes the connection may be killed (SIGPIPE).
func (rt *roundTrip) peekBody(h responseHead) (beginning []byte) {
	body := newBodyDecoder(h)
	rt.conn.SetDeadline(time.Now().Add(limits.PeekTimeout))
	for h.status != http.StatusNoContent && rt.received < limits.MaxDiscardedBody {
		limits.Yield() // The service may always have more to send.
		b := rt.buf[rt.start:rt.end]
		content, _, err := body.decode(b)
		beginning = append(beginning, b[:min(content, sniffLen-len(beginning))]...)
		if err != nil || body.done() {
			break
		}
		rt.start, rt.end = 0, 0
		if rt.conn.raw.Read(rt.onMore) != nil || rt.readErr != nil {
			break
		}
	}
	return decompressed(h.contentEncoding, beginning)
}

// cutField returns the name and value of a field line (RFC 9112 section 5). It reports
// false if the line is malformed or an obsolete fold, which begins with a space.
func cutField(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	return name, bytes.Trim(value, " \t"), ok && isToken(name) && isFieldText(value)
}

// isToken reports whether b is a token, as a field name is (RFC 9110 section 5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		if !isLetter(c) && !('0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// isFieldText reports whether b has no control characters but tabs, so that it may be a
// field value (RFC 9110 section 5.5).
func isFieldText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// equalFold reports whether b is s, regardless of the case of ASCII letters. Unlike
// bytes.EqualFold it folds no others: the Kelvin sign is no k.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		if b[i] != s[i] && (b[i]^s[i] != 0x20 || !isLetter(s[i])) {
			return false
		}
	}
	return true
}
