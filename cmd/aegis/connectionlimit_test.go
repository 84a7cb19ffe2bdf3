package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// At the limit of connections, a client that has made an accepted request keeps its
// connection, though it is the oldest of its address. One whose request was refused does not.
func TestClientThatHasScrapedKeepsItsConnection(t *testing.T) {
	_, addr, _, _ := startForStrangers(t)
	accepted, refused := dialClient(t, addr), dialClient(t, addr)
	if status := accepted.get("open sesame"); status != http.StatusOK {
		t.Fatalf("with the password: %d", status)
	}
	if status := refused.get("sesame"); status != http.StatusUnauthorized {
		t.Fatalf("with a wrong password: %d", status)
	}
	for range limits.MaxTLSConns {
		c, err := dialTCP(addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	refused.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := refused.r.ReadByte(); err == nil || isTimeout(err) {
		t.Errorf("the connection of a refused request: %v, want its end", err)
	}
	for range 2 {
		if status := accepted.get("open sesame"); status != http.StatusOK {
			t.Fatalf("the connection of an accepted request: status %d, want 200", status)
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// tlsClient is one connection over TLS.
type tlsClient struct {
	*tls.Conn
	r *bufio.Reader
}

func dialClient(t *testing.T, addr string) *tlsClient {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &tlsClient{c, bufio.NewReader(c)}
}

// get returns the status of a scrape with this password, 0 if there is no response.
func (c *tlsClient) get(password string) int {
	r, _ := http.NewRequest(http.MethodGet, "http://h/svc", nil)
	r.SetBasicAuth("prometheus", password)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET /svc HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n\r\n", r.Header.Get("Authorization"))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
