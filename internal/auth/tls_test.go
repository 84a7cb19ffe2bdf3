package auth

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Without a certificate of the right authority there is no handshake.
func TestClientCertificates(t *testing.T) {
	s := startSite(t, mutualTLS, discard)
	s.wantNoHandshake("no certificate", s.client(""))
	s.wantNoHandshake("certificate of another authority", s.client("intruder"))
	s.wantStatus("right certificate", s.client("prometheus"), http.StatusOK)
	plain := *s
	plain.url = strings.Replace(s.url, "https:", "http:", 1)
	plain.wantStatus("plain HTTP", s.client(""), http.StatusBadRequest)
}

func TestClientCertificatesIfGiven(t *testing.T) {
	s := startSite(t, serverTLS+"  client_ca_file: trusted.pem\n  client_auth_type: VerifyClientCertIfGiven\n", discard)
	s.wantNoHandshake("certificate of another authority", s.client("intruder"))
	s.wantStatus("no certificate", s.client(""), http.StatusOK)
	s.wantStatus("right certificate", s.client("prometheus"), http.StatusOK)
}

func TestAllowedSANs(t *testing.T) {
	s := startSite(t, mutualTLS+"  client_allowed_sans: [prometheus@example.org]\n", discard)
	s.wantStatus("allowed name", s.client("prometheus"), http.StatusOK)
	s.wantNoHandshake("another name", s.client("server"))
}

// A client that offers HTTP/2 gets HTTP/1.1, whatever http2 in the file says.
func TestHTTP1Only(t *testing.T) {
	for _, http2 := range []string{"true", "false"} {
		s := startSite(t, serverTLS+"http_server_config: {http2: "+http2+"}\n", discard)
		resp, _, err := s.get(s.client(""), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if resp.Proto != "HTTP/1.1" || resp.TLS.NegotiatedProtocol != "http/1.1" {
			t.Errorf("http2: %s: %s, negotiated %q", http2, resp.Proto, resp.TLS.NegotiatedProtocol)
		}
		addr := strings.TrimPrefix(s.url, "https://")
		if c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}); err == nil {
			c.Close()
			t.Errorf("http2: %s: a client that speaks HTTP/2 only connected", http2)
		}
	}
}

// A renewed certificate is served to the next handshake, without a reload.
func TestRenewedCertificate(t *testing.T) {
	s := startSite(t, serverTLS, discard)
	before, _, err := s.get(s.client(""), "", "")
	if err != nil {
		t.Fatal(err)
	}
	newAuthority(t, s.dir, "trusted").issue(t, s.dir, "server", time.Now().Add(time.Hour))
	after, _, err := s.get(s.client(""), "", "") // This client trusts the new authority only.
	if err != nil {
		t.Fatal(err)
	}
	if before.TLS.PeerCertificates[0].Equal(after.TLS.PeerCertificates[0]) {
		t.Error("the certificate is still the old one")
	}
}

// The versions and cipher suites of the file are in force, and TLS 1.2 without any.
func TestTLSVersions(t *testing.T) {
	for text, want := range map[string]uint16{
		serverTLS:                            tls.VersionTLS13,
		serverTLS + "  max_version: TLS12\n": tls.VersionTLS12,
	} {
		s := startSite(t, text, discard)
		resp, _, err := s.get(s.client(""), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.TLS.Version; got != want {
			t.Errorf("%s: %s, want %s", text, tls.VersionName(got), tls.VersionName(want))
		}
		client := s.client("")
		config := client.Transport.(*http.Transport).TLSClientConfig
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		s.wantNoHandshake("TLS 1.1", client)
	}
}

// With another authority after a reload, certificates of the old one count for nothing,
// neither on a kept connection nor by a session that began before.
func TestReplacedClientCA(t *testing.T) {
	s := startSite(t, mutualTLS, discard)
	old, fresh := s.client("prometheus"), s.client("intruder")
	s.wantStatus("before", old, http.StatusOK)
	s.reload(strings.Replace(mutualTLS, "trusted.pem", "foreign.pem", 1))
	resp, body, err := s.get(old, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusUnauthorized || !resp.Close || !strings.Contains(body, "connect again") {
		t.Errorf("kept connection: %s, close %v: %s", resp.Status, resp.Close, body)
	}
	s.wantNoHandshake("session of the old authority", old)
	s.wantNoHandshake("new connection with the old authority", s.client("prometheus"))
	s.wantStatus("new authority", fresh, http.StatusOK)

	s.write("foreign.pem", "") // The authorities change at a reload only.
	fresh.CloseIdleConnections()
	s.wantStatus("authority whose file has changed", fresh, http.StatusOK)
}

// With other names after a reload, certificates without one of them count for nothing,
// neither on a kept connection nor by a session that began before: resuming a session
// looks at no names.
func TestReplacedSANs(t *testing.T) {
	const names = mutualTLS + "  client_allowed_sans: [NAME@example.org]\n"
	s := startSite(t, strings.Replace(names, "NAME", "prometheus", 1), discard)
	client := s.client("prometheus")
	s.wantStatus("before", client, http.StatusOK)
	s.reload(strings.Replace(names, "NAME", "server", 1))
	s.wantStatus("kept connection", client, http.StatusUnauthorized)
	resp, body, err := s.get(client, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if !resp.TLS.DidResume || resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "none of the names") {
		t.Errorf("session from before: resumed %v, %s: %s", resp.TLS.DidResume, resp.Status, body)
	}
	s.wantNoHandshake("new session", s.client("prometheus"))
	s.wantStatus("allowed name", s.client("server"), http.StatusOK)
}

// Client certificates that a reload turns on are needed on kept connections too.
func TestClientCertificatesTurnedOn(t *testing.T) {
	s := startSite(t, serverTLS, discard)
	client := s.client("")
	s.wantStatus("before", client, http.StatusOK)
	s.reload(mutualTLS)
	s.wantStatus("kept connection", client, http.StatusUnauthorized)
	s.wantNoHandshake("next connection", client)
}
