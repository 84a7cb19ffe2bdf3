package scrape

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected returns a connection as dial makes it, and its other end.
func connected(t testing.TB) (ours *conn, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "ours")
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return &conn{File: file, raw: raw, open: new(atomic.Int64)}, fds[1]
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
		defer unix.Close(theirs)
		unix.Write(theirs, response)
		unix.Shutdown(theirs, unix.SHUT_WR)

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

		var want bytes.Buffer
		if err := asNetHTTP(&want, response); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("whole answer %q of %q, but net/http says %q, %v", got.Bytes(), response, want.Bytes(), err)
		}
	})
}

// asNetHTTP has net/http read response, and adds its body to body.
func asNetHTTP(body *bytes.Buffer, response []byte) error {
	r := bufio.NewReader(bytes.NewReader(response))
	resp, err := http.ReadResponse(r, get)
	for err == nil && resp.StatusCode < 200 {
		resp, err = http.ReadResponse(r, get)
	}
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	_, err = body.ReadFrom(resp.Body)
	return err
}
