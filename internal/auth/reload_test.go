package auth

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// A broken file at a reload is an error, and the one in use stays in use.
func TestReloadOfABrokenFile(t *testing.T) {
	users := passwords(t, map[string]int{"prometheus": bcrypt.MinCost})
	s := startSite(t, mutualTLS+users, discard)
	client := s.client("prometheus")
	for what, text := range map[string]string{
		"not YAML":         "{",
		"empty":            "",
		"unknown key":      "tls_server_config: {cert_fil: server.pem}",
		"plain password":   mutualTLS + "basic_auth_users: {prometheus: open sesame}",
		"no certificate":   strings.Replace(mutualTLS, "server.pem", "absent.pem", 1) + users,
		"no authority":     strings.Replace(mutualTLS, "trusted.pem", "absent.pem", 1) + users,
		"unknown header":   mutualTLS + users + "http_server_config: {headers: {Server: x}}",
		"unverified certs": strings.Replace(mutualTLS, "RequireAndVerify", "RequireAny", 1) + users,
	} {
		s.write("web.yml", text)
		inUse := s.File()
		err := s.Reload()
		if err == nil || !strings.Contains(err.Error(), "web.yml") || s.File() != inUse {
			t.Errorf("%s: %v, another file is in use: %v", what, err, s.File() != inUse)
		}
		s.wantPasswordStatus(what, client, "prometheus", password, http.StatusOK)
		s.wantPasswordStatus(what+", no password", client, "", "", http.StatusUnauthorized)
		s.wantNoHandshake(what+", no certificate", s.client(""))
	}
	if err := os.Remove(filepath.Join(s.dir, "web.yml")); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil {
		t.Error("no file: no error")
	}
	s.wantPasswordStatus("no file", client, "prometheus", password, http.StatusOK)
	s.reload(mutualTLS + users)
}

// A file that asks clients for less than the one in use is refused at a reload.
func TestReloadOfAWeakerFile(t *testing.T) {
	users := passwords(t, map[string]int{"prometheus": bcrypt.MinCost})
	const (
		ifGiven = serverTLS + "  client_ca_file: trusted.pem\n  client_auth_type: VerifyClientCertIfGiven\n"
		names   = "  client_allowed_sans: [prometheus@example.org]\n"
		headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n"
	)
	for _, tt := range []struct{ name, inUse, next, want string }{
		{"no passwords", users + headers, headers, "has no passwords any more"},
		{"no TLS", serverTLS + users, users, "has no TLS any more"},
		{"no client certificates", mutualTLS, serverTLS, "does not have client_auth_type: RequireAndVerifyClientCert any more"},
		{"no client certificates if given", ifGiven, serverTLS, "does not have client_auth_type: VerifyClientCertIfGiven any more"},
		{"client certificates if given", mutualTLS, ifGiven, "does not have client_auth_type: RequireAndVerifyClientCert any more"},
		{"no names", mutualTLS + names, mutualTLS, "has no client_allowed_sans any more"},
		{"stricter", ifGiven, mutualTLS, ""},
		{"passwords", serverTLS, serverTLS + users, ""},
		{"names", mutualTLS, mutualTLS + names, ""},
		{"no headers", users + headers, users, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			inUse, err := ReadFile(s.write("web.yml", tt.inUse))
			if err != nil {
				t.Fatal(err)
			}
			a := New(inUse, discard)
			path := s.write("web.yml", tt.next)
			err = a.Reload()
			if tt.want == "" {
				if err != nil || a.File() == inUse {
					t.Errorf("%v, the old file is in use: %v", err, a.File() == inUse)
				}
				return
			}
			want := path + " " + tt.want + "; that takes a restart"
			if err == nil || !strings.Contains(err.Error(), want) || a.File() != inUse {
				t.Errorf("%v, the old file is in use: %v; want %s", err, a.File() == inUse, want)
			}
		})
	}
}

// Each reload is compared with the file in use, not with that of the start.
func TestReloadOfAWeakerFileLater(t *testing.T) {
	const headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n"
	s := startSite(t, headers, discard)
	s.reload(headers + passwords(t, map[string]int{"prometheus": bcrypt.MinCost}))
	s.write("web.yml", headers)
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "has no passwords any more") {
		t.Error(err)
	}
	s.wantStatus("no password", s.client(""), http.StatusUnauthorized)
}

// A server that began without TLS cannot turn it on: the reload fails, so that nobody believes it had.
func TestReloadThatTurnsTLSOn(t *testing.T) {
	const headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n"
	s := startSite(t, headers, discard)
	s.write("web.yml", mutualTLS+headers)
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "turns TLS on; that takes a restart") {
		t.Error(err)
	}
	if s.File().tls != nil || s.File().VerifiesClientCerts() {
		t.Error("the file in use has TLS")
	}
	s.wantStatus("with TLS in the file", s.client(""), http.StatusOK)
}

// Passwords that a reload changes are in force at once, though the old ones are cached.
func TestReloadOfPasswords(t *testing.T) {
	s := startSite(t, passwords(t, map[string]int{"prometheus": bcrypt.MinCost, "other": bcrypt.MinCost}), discard)
	client := s.client("")
	for _, user := range []string{"prometheus", "other"} {
		s.wantPasswordStatus(user, client, user, password, http.StatusOK)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("another"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s.reload("basic_auth_users: {prometheus: '" + string(hash) + "'}")
	s.wantPasswordStatus("old password", client, "prometheus", password, http.StatusUnauthorized)
	s.wantPasswordStatus("new password", client, "prometheus", "another", http.StatusOK)
	s.wantPasswordStatus("removed user", client, "other", password, http.StatusUnauthorized)
}
