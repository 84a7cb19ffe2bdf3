package scrape

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected returns a connection as dial makes it, and its other end.
func connected(t testing.TB) (*conn, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer theirs.Close()
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	service, err := net.FileConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	return &conn{File: ours, raw: raw, open: new(atomic.Int64)}, service
}

// get is what net/http needs to know of the request.
var get = &http.Request{Method: http.MethodGet}

// Whatever a service sends, an answer that is taken for whole is what net/http
// reads, to its end, from the same bytes.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		answer("x 1\n"),
		ok + plain + chunked + "\r\n4\r\nx 1\n\r\n0\r\n\r\n",
		ok + "\r\nx 1\n",
		"HTTP/1.0 200 OK\r\n\r\nx 1\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + answer("x 1\n"),
		ok + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nx 1\n",
		ok + chunked + "Content-Length: 3\r\n\r\n4\r\nx 1\n\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		if len(response) > 100<<10 {
			return // more than a socket's buffer takes at once
		}
		ours, theirs := connected(t)
		theirs.Write(response)
		theirs.(*net.UnixConn).CloseWrite()
		defer theirs.Close()

		a, err := newExchange(t.Context(), ours, scraper(t, "", time.Minute)).scrape()
		if err != nil {
			return
		}
		a.pool = new(pool)
		a.service, _, _ = a.pool.admit(ours.id)
		defer a.pool.retain(nil)
		defer a.Close()
		var got bytes.Buffer
		if _, err := a.WriteTo(&got); err != nil {
			return
		}

		reader := bufio.NewReader(bytes.NewReader(response))
		resp, err := http.ReadResponse(reader, get)
		for err == nil && resp.StatusCode < 200 {
			resp, err = http.ReadResponse(reader, get)
		}
		if err != nil {
			t.Fatalf("whole answer of %q, but net/http says %v", response, err)
		}
		want, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("whole answer %q of %q, but net/http says %d, %q, %v", got.Bytes(), response, resp.StatusCode, want, err)
		}
	})
}
