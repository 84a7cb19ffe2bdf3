package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParsePrefixes(t *testing.T) {
	for _, tt := range []struct{ list, want, err string }{
		{list: "10.0.0.0/8", want: "[10.0.0.0/8]"},
		{list: "10.1.2.3, fda2::/16,::1", want: "[10.1.2.3/32 fda2::/16 ::1/128]"},
		{list: "::ffff:10.1.2.3", want: "[10.1.2.3/32]"},
		{list: "::ffff:10.0.0.0/104", want: "[10.0.0.0/8]"},
		{list: "", err: `"" is neither`},
		{list: "10.0.0.0/8,", err: `"" is neither`},
		{list: "prometheus.example", err: `"prometheus.example" is neither`},
		{list: "10.0.0.1/8", err: "write 10.0.0.0/8"},
		{list: "10.0.0.0/33", err: "neither"},
		{list: "fe80::1%wg0", err: "neither"},
	} {
		got, err := ParsePrefixes(tt.list)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: %v, %v; want an error with %q", tt.list, got, err, tt.err)
			}
		} else if fmt.Sprint(got) != tt.want || err != nil {
			t.Errorf("%q: %v, %v; want %s", tt.list, got, err, tt.want)
		}
	}
}

// Clients whose address -allow does not name are disconnected at accept, counted and logged,
// also where IPv4 addresses show as IPv4-mapped ones.
func TestAllow(t *testing.T) {
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip("this host has no IPv6: ", err)
	}
	allow, err := ParsePrefixes("127.0.0.2,127.1.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, Config{Allow: allow}, l)
	s.addr = net.JoinHostPort("127.0.0.1", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	for address, status := range map[string]int{
		"127.0.0.2": http.StatusOK, "127.1.2.3": http.StatusOK, "127.0.0.3": 0, "127.0.0.1": 0,
	} {
		s.dialFrom(address).wantStatus(t, fastRequest, status)
	}
	eventually(t, "both are counted", func() bool { return s.metric("aegis_rejected_connections_total") == 2 })
	s.waitLog("connection rejected: -allow does not name its address")
	if n := strings.Count(s.log.String(), "rejected"); n != 1 {
		t.Errorf("logged %d times within a minute, want once:\n%s", n, s.log)
	}
}

// Clients of a Unix listener have no address, so -allow does not concern them.
func TestAllowIsForTCP(t *testing.T) {
	l := listen(t, "unix", filepath.Join(t.TempDir(), "aegis.sock"))
	start(t, Config{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, l)
	for _, request := range []string{fastRequest, slowRequest} {
		dialUnix(t, l).wantStatus(t, request, http.StatusOK)
	}
}

func dialUnix(t *testing.T, l net.Listener) client {
	t.Helper()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}
