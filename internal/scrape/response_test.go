package scrape

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"unicode"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// largeBody is a body that is not buffered as a whole.
var largeBody = strings.Repeat("x 1\n", limits.MaxBufferedBody/4+1000)

func TestResponses(t *testing.T) {
	const protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	const openMetrics = "application/openmetrics-text; version=1.0.0"
	interim := strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", limits.MaxInterimResponses)
	for _, tt := range []struct {
		name        string
		response    string
		body        string
		contentType string // that of plainType if empty
		encoding    string
	}{
		{name: "length", response: okLine + plainType + "Content-Length: 4\r\n\r\nx 1\n", body: "x 1\n"},
		{name: "chunked", response: okLine + plainType + chunkedCoding + "\r\n2\r\nx \r\n2\r\n1\n\r\n0\r\n\r\n", body: "x 1\n"},
		{name: "chunk extension and trailer", response: okLine + plainType + chunkedCoding + "\r\n4;a=b\r\nx 1\n\r\n0\r\nX-Sum: 1\r\n\r\n", body: "x 1\n"},
		{name: "HTTP/1.0", response: "HTTP/1.0 200 OK\r\n" + plainType + "\r\nx 1\n", body: "x 1\n"},
		{name: "empty", response: okLine + plainType + "Content-Length: 0\r\n\r\n", body: ""},
		{name: "interim responses first", response: interim + okLine + plainType + "Content-Length: 4\r\n\r\nx 1\n", body: "x 1\n"},
		{name: "no type", response: okLine + "Content-Length: 4\r\n\r\nx 1\n", body: "x 1\n", contentType: DefaultContentType},
		{name: "gzip", response: okLine + plainType + gzipCoding + "Content-Length: 3\r\n\r\n\x1f\x8b<", body: "\x1f\x8b<", encoding: "gzip"},
		{name: "protobuf", response: okLine + "Content-Type: " + protobuf + "\r\nContent-Length: 3\r\n\r\n\x00<{", body: "\x00<{", contentType: protobuf},
		{name: "OpenMetrics", response: okLine + "Content-Type: " + openMetrics + "\r\nContent-Length: 6\r\n\r\n# EOF\n", body: "# EOF\n", contentType: openMetrics},
		{name: "quoted metric name, which is no JSON", response: okLine + plainType + "Content-Length: 11\r\n\r\n{\"a.b\"} 1\n\n", body: "{\"a.b\"} 1\n\n"},
		{name: "large, length", response: okResponse(largeBody), body: largeBody},
		{name: "large, chunked", response: okLine + plainType + chunkedCoding + fmt.Sprintf("\r\n%x\r\n", len(largeBody)) + largeBody + "\r\n0\r\n\r\n", body: largeBody},
		{name: "until EOF", response: okLine + plainType + "\r\nx 1\n", body: "x 1\n"},
		{name: "large, until EOF", response: okLine + plainType + "\r\n" + largeBody, body: largeBody},
		{name: "largest that is buffered, until EOF", response: okLine + plainType + "\r\n" + largeBody[:limits.MaxBufferedBody], body: largeBody[:limits.MaxBufferedBody]},
		{name: "gzip, until EOF", response: okLine + plainType + gzipCoding + "\r\n" + gzipped("x 1\n"), body: gzipped("x 1\n"), encoding: "gzip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), respondAndClose(tt.response))
			body, resp, err := s.scrape(t, newClient(t))
			if err != nil {
				t.Fatal(err)
			}
			contentType := tt.contentType
			if contentType == "" {
				contentType = "text/plain; version=0.0.4"
			}
			if resp.ContentType != contentType || resp.ContentEncoding != tt.encoding {
				t.Errorf("type %q, encoding %q; want %q, %q", resp.ContentType, resp.ContentEncoding, contentType, tt.encoding)
			}
			if body != tt.body {
				t.Errorf("body of %d bytes, %.40q; want %d bytes, %.40q", len(body), body, len(tt.body), tt.body)
			}
		})
	}
}

// A service that nobody reads from while it writes may be killed, so a body that is not passed on is read.
func TestUnwantedBodyIsRead(t *testing.T) {
	line := strings.Repeat("<p>not here</p>\n", 1000)
	for name, head := range map[string]string{
		"status":          "HTTP/1.1 404 Not Found\r\n\r\n",
		"status, chunked": "HTTP/1.1 500 No\r\n" + chunkedCoding + "\r\nc3500\r\n",
		"type":            okLine + "Content-Type: text/html\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			written := make(chan error, 1)
			s := startService(t, t.TempDir(), func(c net.Conn, _ int) bool {
				_, err := io.WriteString(c, head)
				for range 50 {
					if err == nil {
						_, err = io.WriteString(c, line)
					}
				}
				written <- err
				return false
			})
			if _, _, err := s.scrape(t, newClient(t)); !errors.Is(err, ErrStatus) && !errors.Is(err, ErrNotMetrics) {
				t.Error(err)
			}
			if err := <-written; err != nil {
				t.Errorf("the service cannot write its body: %v", err)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	interim := strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", limits.MaxInterimResponses+1)
	for _, tt := range []struct {
		name     string
		response string
		err      error
		text     string // in the error
	}{
		{"other status", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", ErrStatus, "503 Service Unavailable"},
		{"no /metrics", "HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n", ErrStatus, "serves no /metrics"},
		{"no such host", "HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n", ErrStatus, "named the Host aegis; if the service expects another, set host in the targets file"},
		{"bad host", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", ErrStatus, "named the Host aegis;"},
		{"misdirected", "HTTP/1.1 421 No\r\nContent-Length: 0\r\n\r\n", ErrStatus, "421 Misdirected Request; check the service's own log; the request named the Host aegis;"},
		{"forbidden", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", ErrStatus, "(nginx: allow unix:); the request named the Host aegis;"},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n", ErrStatus, `a redirect to "http://evil/", and Aegis follows none`},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", ErrStatus, ""},

		{"HTML", okLine + "Content-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>\n", ErrNotMetrics, "text/html"},
		{"JSON", okLine + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", ErrNotMetrics, "application/json"},
		{"HTML of type Text/Plain", okLine + "Content-Type: Text/Plain\r\nContent-Length: 6\r\n\r\n<html>", ErrNotMetrics, "HTML"},
		{"HTML without a type", okLine + "Content-Length: 12\r\n\r\n\n<!DOCTYPE h>", ErrNotMetrics, "HTML"},
		{"metrics as HTML", okLine + "Content-Type: text/html\r\nContent-Length: 4\r\n\r\nx 1\n", ErrNotMetrics, "the right text of the wrong type: Content-Type is text/html; if it is always metrics, set content_type: text/plain; version=0.0.4 in the targets file"},
		{"described metrics as binary, in chunks", okLine + "Content-Type: application/octet-stream\r\n" + chunkedCoding + "\r\n1a\r\n# a\n\n# TYPE x_y:z gauge\nx_y:z\r\n0\r\n\r\n", ErrNotMetrics, "the right text of the wrong type"},
		{"metrics as HTML, compressed", okLine + "Content-Type: text/html\r\n" + gzipCoding + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(gzipped("x 1\n")), gzipped("x 1\n")), ErrNotMetrics, "the right text of the wrong type"},
		{"JSON of type text/plain", okLine + plainType + "Content-Length: 12\r\n\r\n{\"up\": true}", ErrNotMetrics, "JSON"},
		{"large HTML without a type", okLine + "Content-Length: 9999999\r\n\r\n<html>" + largeBody, ErrNotMetrics, "HTML"},
		{"HTML after a head that fills its buffer", okLine + plainType + paddingField(limits.BufferSize-len(okLine+plainType)-2) + "\r\n<html>", ErrNotMetrics, "HTML"},

		{"control character in the type", okLine + "Content-Type: text/plain; a=\x01\r\nContent-Length: 0\r\n\r\n", ErrInvalid, ""},
		{"not HTTP", "* OK ready\r\n", ErrInvalid, "malformed HTTP"},
		{"escape sequences", "\x1b[2J\x07 evil\r\n\r\n", ErrInvalid, ""},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", ErrInvalid, "HTTP/2.0"},
		{"switching protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", ErrInvalid, ""},
		{"too many interim responses", interim + okLine + "\r\n", ErrInvalid, "interim"},
		{"two lengths", okLine + plainType + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nx 1\n", ErrInvalid, ""},
		{"negative length", okLine + plainType + "Content-Length: -4\r\n\r\nx 1\n", ErrInvalid, ""},
		{"bad chunk", okLine + plainType + chunkedCoding + "\r\nzz\r\nx 1\n\r\n0\r\n\r\n", ErrInvalid, ""},
		{"head too large", okLine + "X: " + strings.Repeat("a", limits.MaxResponseHead) + "\r\n\r\n", ErrInvalid, "64 KiB"},

		{"nothing", "", ErrTruncated, "ends like this too; the request named the Host aegis;"},
		{"half a head", okLine + "Content-Ty", ErrTruncated, ""},
		{"half a length", okLine + plainType + "Content-Length: 9\r\n\r\nx 1\n", ErrTruncated, ""},
		{"half the chunks", okLine + plainType + chunkedCoding + "\r\n4\r\nx 1\n\r\n", ErrTruncated, ""},
		{"half a large length", okLine + plainType + "Content-Length: 9999999\r\n\r\n" + largeBody, ErrTruncated, ""},
		{"half a large chunk", okLine + plainType + chunkedCoding + "\r\nfffffff\r\n" + largeBody, ErrTruncated, ""},

		{"nothing, until EOF", okLine + plainType + "\r\n", ErrTruncated, "before its body"},
		{"half a line, until EOF", okLine + plainType + "\r\nx 1\nlonger{a=\"b\"} 12", ErrTruncated, "in the middle of a line"},
		{"large and half a line, until EOF", okLine + plainType + "\r\n" + largeBody + "y 1", ErrTruncated, "in the middle of a line"},
		{"large OpenMetrics, until EOF", okLine + "Content-Type: " + openMetricsType + "\r\n\r\n" + largeBody, ErrTruncated, "before # EOF"},
		{"not gzip, until EOF", okLine + plainType + gzipCoding + "\r\n" + "x 1, and no more than that\n", ErrInvalid, "cannot be decompressed"},
		{"large gzip, until EOF", okLine + plainType + gzipCoding + "\r\n" + largeBody, ErrInvalid, "gzip body has no length and is larger than 256 KiB"},
		{"gzip bomb, until EOF", okLine + plainType + gzipCoding + "\r\n" + gzipped(strings.Repeat("\n", limits.MaxDecompressed)), ErrInvalid, "more than 16 MiB"},
		{"large protobuf, until EOF", okLine + "Content-Type: " + protobufType + "\r\n\r\n" + largeBody, ErrInvalid, "protobuf body has no length and is larger than 256 KiB"},
		{"protobuf, until EOF", okLine + "Content-Type: " + protobufType + "\r\n\r\n\x03abc", ErrInvalid, "its application/vnd.google.protobuf body has no length, so"},
		{"brotli, until EOF", okLine + plainType + "Content-Encoding: br\r\n\r\nx", ErrInvalid, "its br body has no length, so"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), respondAndClose(tt.response))
			_, _, err := s.scrape(t, newClient(t))
			switch {
			case !errors.Is(err, tt.err):
				t.Fatalf("error %v, want %v", err, tt.err)
			case !strings.Contains(err.Error(), tt.text):
				t.Errorf("error %q, want %q in it", err, tt.text)
			case strings.ContainsFunc(err.Error(), unicode.IsControl):
				t.Errorf("error %q has control characters", err)
			}
		})
	}
}

// This checks the limits as numbers, so that they do not change by accident.
func TestResponseLimits(t *testing.T) {
	interim := func(n int) string {
		return strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", n) + okResponse("x 1\n")
	}
	head := func(size int) string {
		const rest = plainType + "Content-Length: 4\r\n\r\n"
		return okLine + paddingField(size-len(okLine+rest)) + rest + "x 1\n"
	}
	// overhead returns two chunks with extensions like ";a", and a trailer like "X:a".
	overhead := func(extensions, trailer int) string {
		chunk := func(data string) string {
			return fmt.Sprintf("%x;%s\r\n%s\r\n", len(data), strings.Repeat("a", extensions/2-1), data)
		}
		return okLine + plainType + chunkedCoding + "\r\n" + chunk("x ") + chunk("1\n") + "0\r\nX:" + strings.Repeat("a", trailer-2) + "\r\n\r\n"
	}
	for _, tt := range []struct {
		name     string
		response string
		err      error
	}{
		{"5 interim responses", interim(5), nil},
		{"6 interim responses", interim(6), ErrInvalid},
		{"head of 64 KiB", head(64 << 10), nil},
		{"head of 64 KiB and a byte", head(64<<10 + 1), ErrInvalid},
		{"chunk extensions, 2 KiB with the trailer", overhead(2<<10-2, 2), nil},
		{"chunk extensions, more with the trailer", overhead(2<<10, 2), ErrInvalid},
		{"trailer, 2 KiB with the chunk extensions", overhead(2, 2<<10-2), nil},
		{"trailer, more with the chunk extensions", overhead(2, 2<<10-1), ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, t.TempDir(), respondAndClose(tt.response))
			body, _, err := s.scrape(t, newClient(t))
			if !errors.Is(err, tt.err) || err == nil && body != "x 1\n" {
				t.Errorf("body %q, %v; want %v", body, err, tt.err)
			}
		})
	}
}

// HTML is recognised even if it arrives byte by byte, after white space.
func TestNotMetricsInPieces(t *testing.T) {
	const html = " \n<html>"
	body := html + strings.Repeat("x 1\n", limits.MaxBufferedBody/4)
	for name, head := range map[string]string{
		"length":    plainType + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)),
		"chunk":     plainType + chunkedCoding + fmt.Sprintf("\r\n%x\r\n", len(body)),
		"until EOF": plainType + "\r\n",
	} {
		s := stream{sent: []byte(okLine + head + body)}
		if err := s.scrapeTo(t, io.Discard, make([]byte, len(okLine+head+html))); !errors.Is(err, ErrNotMetrics) {
			t.Errorf("%s: %v, want %v", name, err, ErrNotMetrics)
		}
	}
}

// paddingField returns a header field of length bytes.
func paddingField(length int) string {
	return "X: " + strings.Repeat("a", length-len("X: \r\n")) + "\r\n"
}
