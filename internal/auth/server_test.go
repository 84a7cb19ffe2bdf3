package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// password is the right one in all tests.
const password = "open sesame"

// site is a directory with a web file, its certificates, and a server that enforces it.
type site struct {
	t   *testing.T
	dir string
	*Authenticator
	url string
}

// newSite returns a site without a server. Its certificates are server and prometheus of
// the authority trusted, and intruder of the authority foreign.
func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir()}
	trusted := newAuthority(t, s.dir, "trusted")
	trusted.issue(t, s.dir, "server", time.Now().Add(time.Hour))
	trusted.issue(t, s.dir, "prometheus", time.Now().Add(time.Hour))
	newAuthority(t, s.dir, "foreign").issue(t, s.dir, "intruder", time.Now().Add(time.Hour))
	return s
}

// startSite returns a site with a server for the web file text.
func startSite(t *testing.T, text string, log *slog.Logger) *site {
	t.Helper()
	s := newSite(t)
	f, err := ReadFile(s.write("web.yml", text))
	if err != nil {
		t.Fatal(err)
	}
	s.Authenticator = New(f, log)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:   s.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics") })),
		TLSConfig: s.TLSConfig(),
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	t.Cleanup(func() { server.Close() })
	if server.TLSConfig == nil {
		s.url = "http://" + l.Addr().String()
		go server.Serve(l)
	} else {
		s.url = "https://" + l.Addr().String()
		go server.ServeTLS(l, "", "")
	}
	return s
}

func (s *site) write(name, text string) (path string) {
	s.t.Helper()
	path = filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// reload reloads with the web file text, which has to work.
func (s *site) reload(text string) {
	s.t.Helper()
	s.write("web.yml", text)
	if err := s.Reload(); err != nil {
		s.t.Fatal(err)
	}
}

// client returns a client that shows the certificate called certificate, or none.
func (s *site) client(certificate string) *http.Client {
	s.t.Helper()
	ca, err := os.ReadFile(filepath.Join(s.dir, "trusted.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	config.RootCAs.AppendCertsFromPEM(ca)
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, certificate+".pem"), filepath.Join(s.dir, certificate+".key"))
		if err != nil {
			s.t.Fatal(err)
		}
		// Unlike Certificates, this ignores which authorities the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// get sends a request and returns the response with its body read. It sends credentials
// if user is not empty.
func (s *site) get(client *http.Client, user, password string) (resp *http.Response, body string, err error) {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	resp, err = client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// wantStatus has client send a request without credentials and checks the status.
func (s *site) wantStatus(what string, client *http.Client, status int) {
	s.t.Helper()
	s.wantPasswordStatus(what, client, "", "", status)
}

func (s *site) wantPasswordStatus(what string, client *http.Client, user, password string, status int) {
	s.t.Helper()
	resp, body, err := s.get(client, user, password)
	if err != nil {
		s.t.Errorf("%s: %v, want status %d", what, err, status)
	} else if resp.StatusCode != status {
		s.t.Errorf("%s: %s: %s, want status %d", what, resp.Status, body, status)
	}
}

// wantNoHandshake checks that client cannot connect.
func (s *site) wantNoHandshake(what string, client *http.Client) {
	s.t.Helper()
	if resp, _, err := s.get(client, "", ""); err == nil {
		s.t.Errorf("%s: %s, want no handshake", what, resp.Status)
	}
}

// passwords returns a basic_auth_users section in which each user has password, with a
// hash of this cost.
func passwords(t *testing.T, costs map[string]int) string {
	t.Helper()
	text := "basic_auth_users:\n"
	for user, cost := range costs {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("  %s: %q\n", user, hash)
	}
	return text
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes an authority and writes its certificate to name.pem in dir.
func newAuthority(t *testing.T, dir, name string) authority {
	t.Helper()
	a := authority{key: newKey(t), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, name+".pem"), "CERTIFICATE", der)
	return a
}

// issue writes a certificate for 127.0.0.1 and name@example.org to name.pem in dir, and
// its key to name.key.
func (a authority) issue(t *testing.T, dir, name string, until time.Time) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, EmailAddresses: []string{name + "@example.org"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, name+".pem"), "CERTIFICATE", der)
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, name+".key"), "PRIVATE KEY", der)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const (
	serverTLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
	mutualTLS = serverTLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: trusted.pem\n"
)

var discard = slog.New(slog.DiscardHandler)
