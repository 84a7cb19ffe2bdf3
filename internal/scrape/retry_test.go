package scrape

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// Only a kept connection that is closed before the first byte of a response gets a second
// try. After any other failure the service sees no further request.
func TestFailedRequestIsNotSentAgain(t *testing.T) {
	for _, tt := range []struct {
		name, response string
		hangs          bool // after response; otherwise the service closes the connection
		err            error
	}{
		{name: "closed after a byte", response: "H", err: ErrTruncated},
		{name: "closed in the head", response: ok + "Content-Ty", err: ErrTruncated},
		{name: "closed in the body", response: ok + plain + "Content-Length: 9\r\n\r\nx 1\n", err: ErrTruncated},
		{name: "closed between chunks", response: ok + plain + chunked + "\r\n4\r\nx 1\n\r\n", err: ErrTruncated},
		{name: "closed after an interim response", response: "HTTP/1.1 100 Continue\r\n\r\n", err: ErrTruncated},
		{name: "not HTTP", response: "SSH-2.0-OpenSSH_9.2\r\n", err: ErrInvalid},
		{name: "another status", response: "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", err: ErrStatus},
		{name: "HTML", response: ok + "Content-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>\n", err: ErrNotMetrics},
		{name: "no response in time", hangs: true, err: ErrTimeout},
		{name: "half a response in time", response: ok, hangs: true, err: ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := listen(t, t.TempDir(), func(c net.Conn, request int) bool {
				if request == 0 {
					io.WriteString(c, answer("x 1\n"))
					return true
				}
				io.WriteString(c, tt.response)
				if tt.hangs {
					io.Copy(io.Discard, c)
				}
				return false
			})
			c := newClient(t)
			if _, _, err := p.scrape(t, c); err != nil {
				t.Fatalf("first scrape: %v", err)
			}
			timeout := 5 * time.Second
			if tt.hangs {
				timeout = 50 * time.Millisecond
			}
			_, _, err := scrapeSocket(t.Context(), c, p.socket(t), scraper(t, "", timeout))
			if !errors.Is(err, tt.err) {
				t.Errorf("second scrape: error %v, want %v", err, tt.err)
			}
			if requests, conns := len(p.requests), p.accepted.Load(); requests != 2 || conns != 1 {
				t.Errorf("the service saw %d requests on %d connections, want 2 on 1", requests, conns)
			}
		})
	}
}
