package scrape

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected returns a connection as dial makes it, and its other end.
func connected(t testing.TB) (c *conn, peer int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "service")
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return &conn{File: file, raw: raw, pool: new(pool), dialed: time.Now()}, fds[1]
}

// getRequest is what net/http needs to know of the request to read a response.
var getRequest = &http.Request{Method: http.MethodGet}

// FuzzResponse checks that if a response is read without error, net/http reads the same
// body from the same bytes.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		okResponse("x 1\n"),
		okLine + plainType + chunkedCoding + "\r\n4\r\nx 1\n\r\n0\r\n\r\n",
		okLine + "\r\nx 1\n",
		"HTTP/1.0 200 OK\r\n\r\nx 1\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + okResponse("x 1\n"),
		okLine + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nx 1\n",
		okLine + chunkedCoding + "Content-Length: 3\r\n\r\n4\r\nx 1\n\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		if len(response) > 100<<10 {
			return // A socket's buffer may not hold all of it.
		}
		if bytes.Contains(bytes.ToLower(response), []byte("trailer:")) {
			return // net/http rejects some announcements, and a scrape ignores them all.
		}
		c, peer := connected(t)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			service := os.NewFile(uintptr(peer), "service")
			service.Read(make([]byte, 4096)) // A response that is there before the request is seen late.
			service.Write(response)
			service.Close()
		}()
		defer func() { <-ended }()

		resp, err := newRoundTrip(t.Context(), c, newRequest(t, time.Minute)).do()
		if err != nil {
			return
		}
		defer c.pool.closeIdle()
		defer resp.Close()
		var got bytes.Buffer
		if _, err := resp.WriteTo(&got); err != nil {
			return
		}

		var want bytes.Buffer
		if err := readWithNetHTTP(&want, response); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("body %q of %q; net/http reads %q, %v", got.Bytes(), response, want.Bytes(), err)
		}
	})
}

// readWithNetHTTP appends to body the body that net/http reads from response.
func readWithNetHTTP(body *bytes.Buffer, response []byte) error {
	r := bufio.NewReader(bytes.NewReader(response))
	resp, err := http.ReadResponse(r, getRequest)
	for err == nil && resp.StatusCode < 200 {
		resp, err = http.ReadResponse(r, getRequest)
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
