package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A request head may have 16 KiB, over TLS too. A larger one gets 431.
func TestRequestHeadSize(t *testing.T) {
	t.Parallel()
	plain := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", sampleFolder(t))
	plainAddr := plain.awaitOutput(t, `msg=serving address=(\S+)`)
	_, tlsAddr, _ := startWithTLS(t)
	for transport, dial := range map[string]func() (net.Conn, error){
		"plain": func() (net.Conn, error) { return net.Dial("tcp", plainAddr) },
		"TLS": func() (net.Conn, error) {
			return tls.Dial("tcp", tlsAddr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		},
	} {
		for _, tt := range []struct{ size, status int }{{15 << 10, http.StatusOK}, {17 << 10, http.StatusRequestHeaderFieldsTooLarge}} {
			t.Run(fmt.Sprintf("%d KiB, %s", tt.size>>10, transport), func(t *testing.T) {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				const begin, end = "GET /svc HTTP/1.1\r\nHost: h\r\nX-Pad: ", "\r\n\r\n"
				io.WriteString(c, begin+strings.Repeat("a", tt.size-len(begin+end))+end)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != tt.status {
					t.Errorf("%s, want %d", resp.Status, tt.status)
				}
			})
		}
	}
}
