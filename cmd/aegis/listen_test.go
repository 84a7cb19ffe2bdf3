package main

import (
	"net"
	"strings"
	"testing"
)

// 0.0.0.0 is every IPv4 address, and [::] every address.
func TestListenOnEveryAddress(t *testing.T) {
	for hostport, wantIPv6 := range map[string]bool{"0.0.0.0:0": false, "[::]:0": true, ":0": true} {
		l, err := listen(hostport)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for host, want := range map[string]bool{"127.0.0.1": true, "::1": wantIPv6} {
			c, err := net.Dial("tcp", net.JoinHostPort(host, port))
			if err == nil {
				c.Close()
			}
			if (err == nil) != want {
				t.Errorf("-hostport %s, connecting to %s: %v", hostport, host, err)
			}
		}
	}
}

func TestExternalURLFlag(t *testing.T) {
	for text, want := range map[string]string{
		"https://host.example.org/aegis/":  "https://host.example.org/aegis",
		"http://host.example.org:8080":     "http://host.example.org:8080",
		"http://[fe80::1%25wg0]:31337":     "http://[fe80::1%25wg0]:31337",
		"host.example.org/aegis":           "",
		"/aegis":                           "",
		"https://user:secret@example.org/": "",
		"https://example.org/?a=b":         "",
	} {
		u, err := parseExternalURL(text)
		if want == "" && err == nil || want != "" && (err != nil || u.String() != want) {
			t.Errorf("%s: %v, %v; want %q", text, u, err, want)
		}
		if want == "" && !strings.HasPrefix(err.Error(), "use the URL where Prometheus reaches Aegis") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
