package web

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// FuzzScraper sends any bytes to a real listener. Whatever they are, the service receives no
// request but for its metrics, with no field but those that may pass, and every response is
// one that a scraper can get.
func FuzzScraper(f *testing.F) {
	for _, seed := range []string{
		"GET /svc HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /svc?a=b HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\nAuthorization: Basic x\r\nAccept: x\r\n\r\n",
		"GET http://other/svc HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /%73vc HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /svc%2f..%2fsvc HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /svc?a%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde",
		"POST /svc HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /svc HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HEAD /svc HTTP/1.0\r\n\r\n",
		"GET /svc HTTP/1.1\r\nHost: h\r\nUser-Agent: a\r\n b: c\r\nAccept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 1e309\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	a := start(f)
	received := a.strictService("svc")

	f.Fuzz(func(t *testing.T, request []byte) {
		c, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(100 * time.Millisecond)) // in case Aegis waits for more
		c.Write(request)
		// This ends the connection, if it is still open.
		io.WriteString(c, "\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		r := bufio.NewReader(c)
		for {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				break
			}
			switch resp.StatusCode {
			case 200, 400, 404, 405, 414, 417, 431, 501, 502, 503, 504, 505:
			default:
				t.Errorf("the response to %q is %s", request, resp.Status)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				break
			}
		}
		if wrong := received(); wrong != "" {
			t.Errorf("%q made Aegis send %q to the service", request, wrong)
		}
	})
}

var (
	scrapeLine  = regexp.MustCompile(`^GET /metrics(\?[^ ]*)? HTTP/1\.1$`)
	scrapeField = regexp.MustCompile(`^(Host|Accept|Accept-Encoding|User-Agent|X-Prometheus-Scrape-Timeout-Seconds): [^\x00-\x08\x0a-\x1f\x7f]*$`)
)

// strictService serves the socket called name. The function that it returns gives a request
// that is no scrape, if there was one since the last call.
func (a *aegis) strictService(name string) (received func() string) {
	a.t.Helper()
	var wrong atomic.Value
	wrong.Store("")
	a.accept(a.socket(name), func(c net.Conn) {
		var pending []byte
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			pending = append(pending, buf[:n]...)
			for {
				head, rest, ok := bytes.Cut(pending, []byte("\r\n\r\n"))
				if !ok {
					break
				}
				pending = rest
				if !isScrape(string(head)) || len(rest) > 0 {
					wrong.Store(string(head) + string(rest))
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nx 1\n")
			}
		}
	})
	return func() string { return wrong.Swap("").(string) }
}

func isScrape(head string) bool {
	lines := strings.Split(head, "\r\n")
	for _, line := range lines[1:] {
		if !scrapeField.MatchString(line) {
			return false
		}
	}
	return scrapeLine.MatchString(lines[0])
}
