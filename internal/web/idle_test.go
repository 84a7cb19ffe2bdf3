package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A client may wait for two minutes until its next request. After its idle timeout net/http
// closes a connection that it got from the fast path, too.
func TestIdleTimeoutOfNetHTTP(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	srv := a.HTTPServer()
	if srv.IdleTimeout != 2*time.Minute {
		t.Errorf("IdleTimeout is %v, want 2 minutes", srv.IdleTimeout)
	}
	srv.IdleTimeout = 200 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(a.Plain(a.Guard(l, nil)))
	defer srv.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	for range 2 {
		io.WriteString(c, "GET /svc HTTP/1.1\r\nHost: h\r\nPragma: is not for the fast path\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("an idle client reads %v, want EOF", err)
	}
}
