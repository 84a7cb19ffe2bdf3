package target

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

func TestAuthorize(t *testing.T) {
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "prometheus"}, DNSNames: []string{"prom.example"}}
	verified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	unverified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	allow := func(certificates ...string) *targetsfile.Allow {
		return &targetsfile.Allow{
			Addresses:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")},
			Certificates: certificates,
		}
	}
	for _, tt := range []struct {
		name  string
		allow *targetsfile.Allow
		from  string
		tls   *tls.ConnectionState
		want  string // in the error; empty if the client is allowed
	}{
		{"no allow", nil, "192.0.2.1:5", nil, ""},
		{"its address", allow(), "10.1.2.3:5", nil, ""},
		{"its address, mapped", allow(), "[::ffff:10.1.2.3]:5", nil, ""},
		{"its address, with a zone", allow(), "[fe80::1%eth0]:5", nil, ""},
		{"its common name", allow("prometheus"), "192.0.2.1:5", verified, ""},
		{"its DNS name", allow("prom.example"), "@", verified, ""},
		{"another address", allow("prometheus"), "192.0.2.1:5", nil, "192.0.2.1 to"},
		{"another mapped address", allow(), "[::ffff:192.0.2.1]:5", nil, "allow 192.0.2.1 to"},
		{"no address", allow(), "@", nil, "a client without an address"},
		{"another name", allow("grafana"), "192.0.2.1:5", verified, `192.0.2.1 with a certificate for ["prometheus" "prom.example"]`},
		{"a certificate that was not verified", allow("prometheus"), "192.0.2.1:5", unverified, "192.0.2.1 to"},
		{"a certificate if none is named", allow(), "192.0.2.1:5", verified, "with a certificate"},
		{"an empty allow", &targetsfile.Allow{}, "10.1.2.3:5", nil, "10.1.2.3"},
	} {
		target := Target{Name: "svc", Settings: targetsfile.Target{Allow: tt.allow}}
		err := target.Authorize(&http.Request{RemoteAddr: tt.from, TLS: tt.tls})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v, want nil", tt.name, err)
		case tt.want != "" && (!errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want forbidden: … %s", tt.name, err, tt.want)
		}
	}
}

// The scrape of a client that is not allowed does not reach the service, and is counted apart.
func TestForbiddenScrape(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.scrape("svc")
	s.service("new", func(http.ResponseWriter, *http.Request) { t.Error("the service was scraped") })
	restricted := targetsfile.Target{Allow: &targetsfile.Allow{}, Path: "/metrics"}
	s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{"svc": restricted, "new": restricted}})
	s.reconcile()
	for _, name := range []string{"svc", "new"} {
		o := s.scrape(name)
		if n, _ := s.scrapes(name, Forbidden); o.Result != Forbidden || n != 1 {
			t.Errorf("%s: %s, counted %g times", name, o.Result, n)
		}
	}
	if got := s.snapshot("svc"); got.State != Fine || got.Last.Result != OK {
		t.Errorf("svc is %s, its last scrape %s; want fine, ok", got.State, got.Last.Result)
	}
}
