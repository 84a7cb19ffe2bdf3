package http1

import (
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// blankRequest returns what all requests of one connection have in common.
func blankRequest(ctx *gone, remote net.Addr) *http.Request {
	return (&http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: new(url.URL), Body: http.NoBody, RemoteAddr: remote.String(),
	}).WithContext(ctx)
}

// fields is how many fields a request may have here.
const fields = 24

// parse puts the request that head is into r, with the fields in header, which
// takes its values from values. It reports false for everything that is not the
// whole head, and the head alone, of a GET of one path segment, spelled as all
// scrapers do.
func parse(head string, r *http.Request, header http.Header, values *[fields]string) bool {
	line, rest, _ := strings.Cut(head, "\r\n")
	target, ok := strings.CutPrefix(line, "GET /")
	if !ok {
		return false
	}
	if target, ok = strings.CutSuffix(target, " HTTP/1.1"); !ok {
		return false
	}
	name, query, asked := strings.Cut(target, "?")
	if name == "" || !allOf(name, isName) || !allOf(query, isQuery) {
		return false
	}
	host := ""
	for n := 0; ; n++ {
		if line, rest, ok = strings.Cut(rest, "\r\n"); !ok {
			return false // This is not all of it.
		}
		if line == "" {
			break
		}
		key, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || n == fields || !allOf(key, isKey) || key == "" || !allOf(value, isText) {
			return false
		}
		switch key = textproto.CanonicalMIMEHeaderKey(key); key {
		case "Host":
			if host != "" || value == "" || !allOf(value, isHost) {
				return false
			}
			host = value
			continue
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return false
			}
		case "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect", "Pragma":
			return false
		}
		if header[key] != nil {
			return false
		}
		values[n] = value
		header[key] = values[n : n+1 : n+1]
	}
	if rest != "" || host == "" {
		return false
	}
	r.Host, r.Header, r.RequestURI = host, header, line0(head)
	*r.URL = url.URL{Path: head[len("GET ") : len("GET /")+len(name)], RawQuery: query, ForceQuery: asked && query == ""}
	return true
}

// line0 returns the target in the request line of head.
func line0(head string) string {
	target, _, _ := strings.Cut(head[len("GET "):], " ")
	return target
}

// allOf reports whether every byte of s is in class.
func allOf(s string, class byte) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// Classes of bytes.
const (
	isName  = 1 << iota // in a name, which needs no decoding
	isQuery             // in a query
	isHost              // in a host and port
	isKey               // in the name of a field
	isText              // in the value of a field
)

var classes = func() (c [256]byte) {
	for b := range c {
		switch {
		case 'a' <= b|0x20 && b|0x20 <= 'z', '0' <= b && b <= '9', b == '-', b == '_', b == '.':
			c[b] = isName | isQuery | isHost | isKey | isText
		case b == '@':
			c[b] = isName | isQuery | isText
		case b == ':', b == '[', b == ']':
			c[b] = isQuery | isHost | isText
		case b == '#':
			c[b] = isText
		case ' ' < b && b < 0x7f:
			c[b] = isQuery | isText
		case b == ' ', b == '\t':
			c[b] = isText
		}
	}
	return c
}()
