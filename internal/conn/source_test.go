package conn

import "testing"

func TestSourcePrefix(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1":              "192.0.2.1/32",
		"10.100.0.1:1":             "10.100.0.1/32",
		"[::ffff:192.0.2.1]:1":     "192.0.2.1/32",
		"[2001:db8:1:2:3::4]:1":    "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":         "fe80::/64",
		"[fda2:1:2:3:4::5]:1":      "fda2:1:2:3:4::5/128",
		"[fda2:1:2:3:4::5%eth0]:1": "fda2:1:2:3:4::5/128",
		"[::1]:1":                  "::/64",
		"@":                        "invalid Prefix",
	} {
		if got := SourcePrefix(remote).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}
