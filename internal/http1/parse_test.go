package http1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// scrape is what Prometheus sends.
const scrape = "GET /svc HTTP/1.1\r\nHost: 10.0.0.1:31337\r\nUser-Agent: Prometheus/3.5.0\r\n" +
	"Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1\r\n" +
	"Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"

var heads = map[string]struct {
	head string
	fast bool // package http1 serves it
}{
	"a scrape":                       {scrape, true},
	"the shortest":                   {"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", true},
	"a query":                        {"GET /a?x=y&z=%20 HTTP/1.1\r\nHost: h\r\n\r\n", true},
	"an empty query":                 {"GET /a? HTTP/1.1\r\nHost: h\r\n\r\n", true},
	"two question marks":             {"GET /a?b?c HTTP/1.1\r\nHost: h\r\n\r\n", true},
	"dots":                           {"GET /.. HTTP/1.1\r\nHost: h\r\n\r\n", true},
	"lower-case field names":         {"GET /a HTTP/1.1\r\nhost: h\r\naccept: b\r\n\r\n", true},
	"spaces around a value":          {"GET /a HTTP/1.1\r\nHost:\t h \r\nAccept:b\r\n\r\n", true},
	"an empty value":                 {"GET /a HTTP/1.1\r\nHost: h\r\nAccept:\r\n\r\n", true},
	"an IPv6 Host":                   {"GET /a HTTP/1.1\r\nHost: [::1]:31337\r\n\r\n", true},
	"Connection: keep-alive":         {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n", true},
	"Connection: close":              {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false},
	"Upgrade":                        {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", false},
	"a Content-Length":               {"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", false},
	"a Content-Length in mixed case": {"GET /a HTTP/1.1\r\nHost: h\r\ncOnTeNt-LeNgTh: 5\r\n\r\n", false},
	"chunked":                        {"GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", false},
	"a space before the colon":       {"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\n", false},
	"Expect":                         {"GET /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", false},
	"Trailer":                        {"GET /a HTTP/1.1\r\nHost: h\r\nTrailer: X\r\n\r\n", false},
	"a second request":               {scrape + scrape, false},
	"one byte more":                  {scrape + "G", false},
	"one byte less":                  {scrape[:len(scrape)-1], false},
	"no line ending":                 {"GET /a HTTP/1.1", false},
	"no Host":                        {"GET /a HTTP/1.1\r\n\r\n", false},
	"an empty Host":                  {"GET /a HTTP/1.1\r\nHost:\r\n\r\n", false},
	"two Hosts":                      {"GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", false},
	"a Host with a slash":            {"GET /a HTTP/1.1\r\nHost: h/a\r\n\r\n", false},
	"a repeated field":               {"GET /a HTTP/1.1\r\nHost: h\r\nAccept: a\r\naccept: b\r\n\r\n", false},
	"obsolete line folding":          {"GET /a HTTP/1.1\r\nHost: h\r\nAccept: a\r\n b\r\n\r\n", false},
	"bare line feeds":                {"GET /a HTTP/1.1\nHost: h\n\n", false},
	"a line feed in a value":         {"GET /a HTTP/1.1\r\nHost: h\r\nAccept: a\nX: b\r\n\r\n", false},
	"a carriage return in a value":   {"GET /a HTTP/1.1\r\nHost: h\r\nAccept: a\rb\r\n\r\n", false},
	"NUL":                            {"GET /a HTTP/1.1\r\nHost: h\r\nAccept: a\x00\r\n\r\n", false},
	"beyond ASCII":                   {"GET /a HTTP/1.1\r\nHost: h\r\nAccept: \xff\r\n\r\n", false},
	"an empty field name":            {"GET /a HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", false},
	"a line without a colon":         {"GET /a HTTP/1.1\r\nHost: h\r\nAccept\r\n\r\n", false},
	"too many fields":                {"GET /a HTTP/1.1\r\nHost: h\r\n" + fields(maxFields) + "\r\n", false},
	"the root":                       {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", false},
	"two segments":                   {"GET /-/sd HTTP/1.1\r\nHost: h\r\n\r\n", false},
	"a colon in the name":            {"GET /a:b HTTP/1.1\r\nHost: h\r\n\r\n", false},
	"an escape in the name":          {"GET /%61 HTTP/1.1\r\nHost: h\r\n\r\n", false},
	"a space in the query":           {"GET /a?b c HTTP/1.1\r\nHost: h\r\n\r\n", false},
	"an absolute target":             {"GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n", false},
	"another method":                 {"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n", false},
	"another version":                {"GET /a HTTP/1.0\r\nHost: h\r\n\r\n", false},
	"HTTP/2":                         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false},
	"TLS":                            {"\x16\x03\x01\x02\x00\x01\x00", false},
	"an empty line first":            {"\r\n" + scrape, false},
}

// fields returns n different header fields.
func fields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("X" + strings.Repeat("x", i) + ": y\r\n")
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for name, tt := range heads {
		t.Run(name, func(t *testing.T) {
			if fast := checkParse(t, tt.head); fast != tt.fast {
				t.Errorf("parsed: %v, want %v", fast, tt.fast)
			}
		})
	}
}

// FuzzParse checks that net/http would have understood in the same way whatever parse
// accepts, with nothing left over.
func FuzzParse(f *testing.F) {
	for _, h := range heads {
		f.Add(h.head)
	}
	f.Fuzz(func(t *testing.T, head string) { checkParse(t, head) })
}

// checkParse reports whether parse accepts head. If so, it compares the request with that of
// net/http.
func checkParse(t *testing.T, head string) (accepted bool) {
	t.Helper()
	got := newTemplate(t.Context(), &net.TCPAddr{})
	var values [maxFields]string
	if !parse(head, got, make(http.Header), &values) {
		return false
	}
	rest := bufio.NewReader(strings.NewReader(head))
	want, err := http.ReadRequest(rest)
	if err != nil {
		t.Fatalf("%q: net/http does not accept it: %v", head, err)
	}
	if left, _ := io.ReadAll(rest); len(left) > 0 {
		t.Errorf("%q: %q is left over", head, left)
	}
	type request struct {
		Method, Path, RawPath, Query, Host, RequestURI, Proto string
		ForceQuery, Close                                     bool
		Length                                                int64
		Header                                                http.Header
	}
	summary := func(r *http.Request) request {
		return request{
			r.Method, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.Host, r.RequestURI, r.Proto,
			r.URL.ForceQuery, r.Close, r.ContentLength, r.Header,
		}
	}
	if g, w := summary(got), summary(want); !reflect.DeepEqual(g, w) {
		t.Errorf("%q:\n%+v, but in net/http\n%+v", head, g, w)
	}
	return true
}
