package auth

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// An error says what is wrong and what to do about it, in one line.
func TestReadFileErrors(t *testing.T) {
	s := newSite(t)
	s.write("empty.pem", "")
	for _, tt := range []struct{ name, text, want string }{
		{"empty file", "", "it turns nothing on; set tls_server_config or basic_auth_users, or leave out the flag for plain HTTP"},
		{"no users", "basic_auth_users: {}", "it turns nothing on"},
		{"only http2", "http_server_config: {http2: true}", "it turns nothing on"},
		{"targets file", "targets: {}", `line 1: unknown key "targets"; the keys here are tls_server_config, http_server_config, rate_limit, basic_auth_users; this is a targets file, use it with -config.file`},
		{"unknown section", "users: {}", `line 1: unknown key "users"; the keys here are tls_server_config, http_server_config, rate_limit, basic_auth_users`},
		{"unknown key", "tls_server_config:\n  cert_fil: server.pem", `line 2: unknown key "cert_fil"; did you mean cert_file?`},
		{"unknown key that is like none", "tls_server_config:\n  issuer: x", `line 2: unknown key "issuer"; the keys here are cert, key, client_ca, cert_file,`},
		{"two faults", "tls_server_config:\n  cert_fil: a\n  key_fil: b", `line 2: unknown key "cert_fil"`},
		{"tab", "basic_auth_users:\n\tprometheus: x", "cannot start any token; indent with spaces"},
		{"plain password", "basic_auth_users: {prometheus: open sesame}", "the value of prometheus is not a password hash"},
		{"plain password, advice", "basic_auth_users: {prometheus: open sesame}", "; basic_auth_users needs hashes as htpasswd -nBC 10 NAME prints them"},
		{"list of users", "basic_auth_users: [prometheus]", `line 1: the value is a list, and must be a mapping: write each user as NAME: "HASH"`},
		{"no space after a user", "basic_auth_users:\n  prometheus:x", "line 2: the value is `prometh...`, and must be a mapping: write each user"},
		{"list of certificates", "tls_server_config: {cert_file: [a]}", "line 1: the value is a list, and must be text"},
		{"no mapping", "tls_server_config: on and on", "line 1: the value is `on and on`, and must be a mapping of keys, a TLSConfig"},
		{"unknown duration", "rate_limit: {interval: soon}", "line 1: the value is `soon`, and must be a duration such as 1s"},
		{"unknown header", "http_server_config: {headers: {Server: x}}", `HTTP header "Server" can not be configured`},
		{"unknown version", serverTLS + "  min_version: TLS9", "unknown TLS version: TLS9; it must be TLS10,"},
		{"unknown policy", serverTLS + "  client_auth_type: Yes", `unknown client_auth_type "Yes"; use RequireAndVerifyClientCert,`},
		{"unknown cipher", serverTLS + "  cipher_suites: [ROT13]", "unknown cipher: ROT13"},
		{"absent certificate", "tls_server_config: {cert_file: absent.pem, key_file: server.key}", "absent.pem: no such file or directory"},
		{"no key", "tls_server_config: {cert_file: server.pem}", "missing one of key or key_file"},
		{"key of another", "tls_server_config: {cert_file: server.pem, key_file: intruder.key}", "; cert_file and key_file must belong to the same certificate"},
		{"path as certificate", "tls_server_config: {cert: server.pem, key_file: server.key}", "; put the certificate itself under cert, or"},
		{"path as key", "tls_server_config: {cert_file: server.pem, key: server.key}", "; put the key itself under key, or"},
		{"authority without policy", serverTLS + "  client_ca_file: trusted.pem", "; set client_auth_type: RequireAndVerifyClientCert"},
		{"policy without authority", serverTLS + "  client_auth_type: RequireAndVerifyClientCert", "client_auth_type RequireAndVerifyClientCert needs that of the authority whose certificates may scrape"},
		{"absent authority", serverTLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem", "reading client_ca_file: open " + filepath.Join(s.dir, "ca.pem")},
		{"empty authority", serverTLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: empty.pem", "there is no certificate in client_ca_file "},
		{"key as authority", mutualTLS[:len(mutualTLS)-len("trusted.pem\n")] + "server.key", "there is no certificate in client_ca_file "},
		{"any certificate", serverTLS + "  client_ca_file: trusted.pem\n  client_auth_type: RequireAnyClientCert", "client_auth_type RequireAnyClientCert accepts certificates that clients made themselves; use RequireAndVerifyClientCert"},
		{"any certificate, old name", serverTLS + "  client_auth_type: RequireClientCert", "client_auth_type RequireClientCert accepts"},
		{"requested certificate", serverTLS + "  client_auth_type: RequestClientCert", "client_auth_type RequestClientCert accepts"},
		{"names without a certificate", serverTLS + "  client_allowed_sans: [a]", "client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert"},
		{"names if given", serverTLS + "  client_ca_file: trusted.pem\n  client_allowed_sans: [a]\n  client_auth_type: VerifyClientCertIfGiven", "client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := s.write("web.yml", tt.text)
			_, err := ReadFile(path)
			if err == nil || !strings.HasPrefix(err.Error(), "reading -web.config.file "+path+": ") || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "line ") > 1 {
				t.Errorf("%q has several lines", err)
			}
		})
	}
}

// CheckSyntax finds the faults of the file itself, but needs none of the files that it names.
func TestCheckSyntax(t *testing.T) {
	const absent = "tls_server_config: {cert_file: absent.pem, key_file: absent.key, client_ca_file: absent.pem, client_auth_type: %s}\n"
	verified := fmt.Sprintf(absent, requireAndVerify)
	for _, tt := range []struct{ text, want string }{
		{verified, ""},
		{"tls_server_config: {cert_file: server.pem, key_file: server.key}", ""},
		{fmt.Sprintf(absent, "Yes"), `unknown client_auth_type "Yes"`},
		{"tls_server_config: {cert_file: absent.pem}", "missing one of key or key_file"},
		{verified + "http_server_config: {headers: {Server: x}}", `HTTP header "Server" can not be configured`},
		{verified + "basic_auth_users: {prometheus: x}", "the value of prometheus is not a password hash"},
		{"", "it turns nothing on"},
	} {
		path := newSite(t).write("web.yml", tt.text)
		if f, err := CheckSyntax(path); tt.want == "" && (err != nil || f == nil) {
			t.Errorf("%s: %v", tt.text, err)
		} else if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestReadFileThatIsNoRegularFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:                         "it is a FIFO, which a reload could not read again; use a regular file",
		dir:                          "is a directory",
		filepath.Join(dir, "absent"): "no such file or directory",
	} {
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// The advice is about the file that cannot be read, which may be one that the web file names.
func TestAdviceWithoutPermission(t *testing.T) {
	for reason, path := range map[string]string{
		"open /web.yml: permission denied":                                            "/web.yml",
		"failed to read key_file (/a/key.pem): open /a/key.pem: permission denied":    "/a/key.pem",
		"reading client_ca_file: open /etc/my certificates/ca.pem: permission denied": "/etc/my certificates/ca.pem",
	} {
		want := socketdir.ReadRemedy(path, fs.ErrPermission)
		if got := advice(reason); got != want || !strings.HasPrefix(got, "; Aegis reads it as user ") {
			t.Errorf("%s: %q, want %q", reason, got, want)
		}
	}
}

func TestReadFile(t *testing.T) {
	s := newSite(t)
	users := passwords(t, map[string]int{"prometheus": bcrypt.MinCost})
	for _, tt := range []struct {
		text               string
		isTLS, clientCerts bool
	}{
		{users, false, false},
		{"http_server_config: {headers: {X-Frame-Options: deny}}\n", false, false},
		{"rate_limit: {interval: 1s, burst: 2}\n", false, false},
		{serverTLS, true, false},
		{serverTLS + "  client_auth_type: NoClientCert\n", true, false},
		{mutualTLS, true, true},
		{mutualTLS + "  client_allowed_sans: [prometheus@example.org]\n", true, true},
		{serverTLS + "  client_ca_file: trusted.pem\n  client_auth_type: VerifyClientCertIfGiven\n", true, true},
		{mutualTLS + `  min_version: TLS12
  max_version: TLS13
  prefer_server_cipher_suites: true
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
  curve_preferences: [X25519]
http_server_config: {http2: true}
` + users, true, true},
	} {
		f, err := ReadFile(s.write("web.yml", tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if (f.tls != nil) != tt.isTLS || f.VerifiesClientCerts() != tt.clientCerts {
			t.Errorf("%s: TLS %v, client certificates %v", tt.text, f.tls != nil, f.VerifiesClientCerts())
		}
	}
}

// The server certificate and its key may be in the file itself, and the authority too.
func TestReadFileWithInlineCertificates(t *testing.T) {
	s := newSite(t)
	text := "tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n"
	for key, name := range map[string]string{"cert": "server.pem", "key": "server.key", "client_ca": "trusted.pem"} {
		pem, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text += "  " + key + ": |\n    " + strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", "\n    ") + "\n"
	}
	f, err := ReadFile(s.write("web.yml", text))
	if err != nil {
		t.Fatal(err)
	}
	if f.tls == nil || len(f.clientCAs) != 1 || f.CertificatePath() != "" {
		t.Errorf("TLS %v, %d authorities, certificate at %q", f.tls != nil, len(f.clientCAs), f.CertificatePath())
	}
}

func TestCertificateExpiredAt(t *testing.T) {
	s := newSite(t)
	f, err := ReadFile(s.write("web.yml", serverTLS))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.CertificatePath(); got != filepath.Join(s.dir, "server.pem") {
		t.Error(got)
	}
	if got := f.CertificateExpiredAt(); !got.IsZero() {
		t.Errorf("a valid certificate: expired at %v", got)
	}
	until := time.Now().Add(-time.Minute).Truncate(time.Second)
	newAuthority(t, s.dir, "trusted").issue(t, s.dir, "server", until)
	if got := f.CertificateExpiredAt(); !got.Equal(until) {
		t.Errorf("expired at %v, want %v", got, until)
	}
	plain, err := ReadFile(s.write("web.yml", "rate_limit: {interval: 1s}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := plain.CertificateExpiredAt(); !got.IsZero() {
		t.Errorf("no certificate: expired at %v", got)
	}
}
