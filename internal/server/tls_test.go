package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/limits"
)

const (
	withTLS  = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
	password = "open sesame"
	// userHeader has the password of the user that users lets in.
	userHeader = "Authorization: Basic cHJvbWV0aGV1czpvcGVuIHNlc2FtZQ==\r\n"
)

// users returns the section of a web file with one user. A cost of bcrypt.MinCost is fast.
func users(t *testing.T, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("basic_auth_users: {prometheus: %q}\n", hash)
}

// authenticator returns an Authenticator for the web file text, with a certificate of its
// own.
func authenticator(t *testing.T, text string) *auth.Authenticator {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write("server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	write("server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	f, err := auth.ReadFile(write("web.yml", []byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return auth.New(f, slog.New(slog.DiscardHandler))
}

// dialTLS connects over TLS and offers protocols.
func (s *testServer) dialTLS(protocols ...string) client {
	s.t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}
	return newClient(s.t, tls.Client(s.dial().Conn, config))
}

// A client that offers HTTP/2 gets HTTP/1.1, and one that speaks HTTP/2 all the same is
// refused.
func TestNoHTTP2(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// net/http calls the handler for the preface, with the method PRI.
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
	encrypted := start(t, Config{Auth: authenticator(t, withTLS), Handler: handler}, nil)
	c := encrypted.dialTLS("h2", "http/1.1")
	c.wantStatus(t, fastRequest, http.StatusOK)
	if got := c.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("negotiated %q, want http/1.1", got)
	}
	plain := start(t, Config{Handler: handler}, nil)
	for name, c := range map[string]client{"TLS": encrypted.dialTLS("http/1.1"), "plain": plain.dial()} {
		c.wantStatus(t, preface, http.StatusMethodNotAllowed)
		c.wantEnd(t, name+", after an HTTP/2 preface")
	}
	const upgrade = "GET /a HTTP/1.1\r\nHost: h\r\n" +
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"
	if resp := plain.dial().wantStatus(t, upgrade, http.StatusOK); resp != nil && resp.Proto != "HTTP/1.1" {
		t.Errorf("an upgrade was followed: %s", resp.Proto)
	}
}

// A request head may have limits.MaxRequestHead, give or take a KiB.
func TestRequestHeadSize(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"plain": "", "TLS": withTLS} {
		t.Run(name, func(t *testing.T) {
			var s *testServer
			dial := func() client { return s.dialTLS() }
			if text == "" {
				s = start(t, Config{}, nil)
				dial = s.dial
			} else {
				s = start(t, Config{Auth: authenticator(t, text)}, nil)
			}
			for size, status := range map[int]int{
				15 << 10: http.StatusOK,
				17 << 10: http.StatusRequestHeaderFieldsTooLarge,
			} {
				head := "GET /a HTTP/1.1\r\nHost: h\r\nX-Pad: "
				head += strings.Repeat("a", size-len(head)-len("\r\n\r\n")) + "\r\n\r\n"
				dial().wantStatus(t, head, status)
			}
		})
	}
}

// A request that net/http refuses itself, before any handler runs, does not keep the slot of
// its handshake while the connection closes.
func TestRefusedRequestKeepsNoSlot(t *testing.T) {
	s := start(t, Config{Auth: authenticator(t, withTLS)}, nil)
	for range limits.MaxExpensive {
		head := "GET /a HTTP/1.1\r\nX-Pad: " + strings.Repeat("a", 17<<10) + "\r\n\r\n"
		s.dialTLS().wantStatus(t, head, http.StatusRequestHeaderFieldsTooLarge)
	}
	free := 0
	for range limits.MaxExpensive {
		if limits.Authentication.TryAcquire() {
			free++
			defer limits.Authentication.Release()
		}
	}
	if free != limits.MaxExpensive {
		t.Errorf("%d of %d slots are free", free, limits.MaxExpensive)
	}
}

// Failed handshakes are logged once a minute at most.
func TestHandshakeErrors(t *testing.T) {
	s := start(t, Config{Auth: authenticator(t, withTLS)}, nil)
	for range 20 {
		c := s.dial()
		c.wantStatus(t, fastRequest, http.StatusBadRequest)
		io.WriteString(s.dial(), "\x16\x03\x01\x00\x02no")
	}
	s.dialTLS().wantStatus(t, fastRequest, http.StatusOK)
	s.waitLog("a client's TLS handshake failed")
	if n := strings.Count(s.log.String(), "handshake failed"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, s.log)
	}
}

// A client whose handshake fails after its request was sent reads why.
func TestReasonOfAFailedHandshake(t *testing.T) {
	const mutual = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: server.pem}"
	file := strings.Replace(withTLS, "}", mutual, 1)
	s := start(t, Config{Auth: authenticator(t, file)}, nil)
	for range 20 {
		c := s.dialTLS()
		_, _, err := c.send(fastRequest)
		if err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Fatalf("%v, want: certificate required", err)
		}
	}
}
