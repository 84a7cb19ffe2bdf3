package http1

import (
	"context"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// newTemplate returns what all requests of one connection have in common.
func newTemplate(ctx context.Context, remote net.Addr) *http.Request {
	return (&http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: new(url.URL), Body: http.NoBody, RemoteAddr: remote.String(),
	}).WithContext(ctx)
}

// maxFields is how many header fields a request may have here.
const maxFields = 24

// parse parses head into r. It puts the fields into header, with their values in values. It reports false for
// everything but the complete head, and the head alone, of a GET of one path segment, spelled as all scrapers do.
func parse(head string, r *http.Request, header http.Header, values *[maxFields]string) bool {
	line, rest, _ := strings.Cut(head, "\r\n")
	target, ok := strings.CutPrefix(line, "GET ")
	if !ok {
		return false
	}
	if target, ok = strings.CutSuffix(target, " HTTP/1.1"); !ok {
		return false
	}
	path, query, hasQuery := strings.Cut(target, "?")
	name, ok := strings.CutPrefix(path, "/")
	if !ok || name == "" || !allOf(name, isName) || !allOf(query, isQuery) {
		return false
	}
	host := ""
	for n := 0; ; n++ {
		if line, rest, ok = strings.Cut(rest, "\r\n"); !ok {
			return false // The head is not complete.
		}
		if line == "" {
			break
		}
		key, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || n == maxFields || !allOf(key, isKey) || key == "" || !allOf(value, isText) {
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
	r.Host, r.Header, r.RequestURI = host, header, target
	*r.URL = url.URL{Path: path, RawQuery: query, ForceQuery: hasQuery && query == ""}
	return true
}

// allOf reports whether every byte of s belongs to class.
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
	isName  = 1 << iota // of a target's name, which needs no decoding
	isQuery             // of a query
	isHost              // of a host and port
	isKey               // of a field's name
	isText              // of a field's value
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
