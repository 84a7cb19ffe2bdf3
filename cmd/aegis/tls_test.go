package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// routes are one of each kind that Aegis has.
var routes = []string{"/", "/metrics", "/-/sd", "/-/healthy", "/-/ready", "/mine", "/absent"}

// TestMutualTLS has a real Prometheus find and scrape a service over mutual TLS.
// Whoever has no certificate of the right authority gets nowhere.
func TestMutualTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test runs Prometheus and waits for its scrapes")
	}
	t.Parallel()
	dir := t.TempDir()
	asked := recordingService(t, dir, "mine")
	recordingService(t, dir, "theirs")
	trusted, strange := newAuthority(t, dir, "trusted"), newAuthority(t, dir, "strange")
	trusted.issue(t, dir, "server")
	trusted.issue(t, dir, "prometheus")
	strange.issue(t, dir, "stranger")
	_, aegis := startAegis(t, buildAegis(t), dir,
		"-web.config.file", writeFile(t, dir, "web.yml", `
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_ca_file: trusted.pem
  client_auth_type: RequireAndVerifyClientCert
`),
		"-config.file", writeFile(t, dir, "targets.yml", `
targets:
  mine: {allow: {certificates: [prometheus]}}
  theirs: {allow: {certificates: [somebody]}}
`))

	for name, client := range map[string]*http.Client{
		"no certificate":              httpsClient(t, dir, ""),
		"a certificate of a stranger": httpsClient(t, dir, "stranger"),
		"plain HTTP":                  {Timeout: 5 * time.Second},
	} {
		for _, route := range routes {
			scheme := "https"
			if name == "plain HTTP" {
				scheme = "http"
			}
			resp, err := client.Get(scheme + "://" + aegis + route)
			if err == nil {
				resp.Body.Close()
			}
			if err == nil && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: GET %s: %s", name, route, resp.Status)
			}
		}
	}
	if got := asked(); len(got) > 0 {
		t.Errorf("the service was asked by those who were refused:\n%s", got)
	}

	client := httpsClient(t, dir, "prometheus")
	for route, want := range map[string]string{
		"/mine":   "200 x 1\n",
		"/theirs": `403 theirs: forbidden: the targets file does not allow this target to 127.0.0.1 with the certificate of ["prometheus"] (allow:)` + "\n",
		"/-/sd":   fmt.Sprintf("200 [{\"targets\":[%q],\"labels\":{\"__metrics_path__\":\"/mine\",\"__scheme__\":\"https\",\"job\":\"mine\"}}]\n", aegis),
	} {
		if got := fetchWith(t, client, "https://"+aegis+route); got != want {
			t.Errorf("GET %s: %q, want %q", route, got, want)
		}
	}
	resp, err := client.Get("https://" + aegis + "/mine")
	if err != nil || resp.ProtoMajor != 2 {
		t.Errorf("%v, %v; want HTTP/2", resp, err)
	}

	scrapedBy(t, aegis, "https", fmt.Sprintf("tls_config: {ca_file: %[1]s/trusted.pem, cert_file: %[1]s/prometheus.pem, key_file: %[1]s/prometheus.key}", dir))
}

// A scraper without the certificate that is asked for learns that, though it sends its
// request before it can know.
func TestReasonWhyTLSFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"trusted", "foreign"} {
		a := newAuthority(t, dir, name)
		a.issue(t, dir, map[string]string{"trusted": "server", "foreign": "stranger"}[name])
	}
	config := writeFile(t, dir, "web.yml", "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: trusted.pem\n  client_auth_type: RequireAndVerifyClientCert\n")
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", config)
	aegis := p.awaitOutput(t, `msg=serving address=(\S+)`)
	for certificate, reason := range map[string]string{"": "certificate required", "stranger": "unknown certificate authority"} {
		for range 20 {
			c, err := tls.Dial("tcp", aegis, httpsClient(t, dir, certificate).Transport.(*http.Transport).TLSClientConfig)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			raw, err := c.NetConn().(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			raw.Control(func(fd uintptr) {
				_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 10_000)
			})
			for range 2 { // To a connection that is closed, the second fails.
				if err == nil {
					_, err = io.WriteString(c, "GET /-/healthy HTTP/1.1\r\nHost: h\r\n\r\n")
				}
			}
			if err == nil {
				_, err = io.ReadAll(c)
			}
			if err == nil || !strings.Contains(err.Error(), reason) {
				t.Fatalf("with the certificate %q: %v, want %s", certificate, err, reason)
			}
		}
	}
}

// That the server's own certificate has expired is said by who can see it at once.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := newAuthority(t, dir, "trusted")
	config := writeFile(t, dir, "web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
	check := func() (string, error) {
		out, err := exec.Command("aegis", "check", "-web.config.file", config, "-sockdir", dir).CombinedOutput()
		return string(out), err
	}
	a.issueUntil(t, dir, "server", time.Now().Add(-time.Minute))
	if out, err := check(); err == nil || !strings.Contains(out, "server.pem: the server's certificate has expired") {
		t.Errorf("%v: %s", err, out)
	}
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", config)
	p.awaitOutput(t, `(msg="the server's certificate has expired)`)
	a.issue(t, dir, "server")
	if out, err := check(); err != nil || !strings.Contains(out, "web.yml: understood\n") || strings.Contains(out, "expired") {
		t.Errorf("%v: %s", err, out)
	}
}

// What is asked for and not verified keeps nobody out, and is refused.
func TestCertificatesUnverified(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newAuthority(t, dir, "trusted").issue(t, dir, "server")
	for _, auth := range []string{"RequireAnyClientCert", "RequestClientCert"} {
		config := writeFile(t, dir, "web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: trusted.pem, client_auth_type: "+auth+"}\n")
		out, err := exec.Command("aegis", "check", "-web.config.file", config, "-sockdir", dir).CombinedOutput()
		if want := auth + " lets in who made a certificate for himself; RequireAndVerifyClientCert verifies it"; err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s, want %s", err, out, want)
		}
	}
}

// Names of certificates are allowed only where everybody shows one.
func TestCertificatesWithNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newAuthority(t, dir, "trusted").issue(t, dir, "server")
	for auth, want := range map[string]string{
		"RequireAndVerifyClientCert": "web.yml: understood\n",
		"VerifyClientCertIfGiven":    "client_allowed_sans takes client_auth_type: RequireAndVerifyClientCert",
		"RequireAnyClientCert":       "client_allowed_sans takes client_auth_type: RequireAndVerifyClientCert",
	} {
		config := writeFile(t, dir, "web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: trusted.pem, client_allowed_sans: [a], client_auth_type: "+auth+"}\n")
		if out, _ := exec.Command("aegis", "check", "-web.config.file", config, "-sockdir", dir).CombinedOutput(); !strings.Contains(string(out), want) {
			t.Errorf("%s: %s, want %s", auth, out, want)
		}
	}
}

// TestPasswords has a real Prometheus find and scrape a service with a password.
// Whoever has none, or a wrong one, gets nowhere; and the service never sees any.
func TestPasswords(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test runs Prometheus and waits for its scrapes")
	}
	t.Parallel()
	dir := t.TempDir()
	asked := recordingService(t, dir, "mine")
	_, aegis := startAegis(t, buildAegis(t), dir, "-web.config.file", passwordFile(t, dir, bcrypt.MinCost))

	for name, user := range map[string][2]string{"none": {}, "wrong password": {"prometheus", "sesame"}, "unknown user": {"root", "open sesame"}} {
		for _, route := range routes {
			r, err := http.NewRequest(http.MethodGet, "http://"+aegis+route, nil)
			if err != nil {
				t.Fatal(err)
			}
			if user[0] != "" {
				r.SetBasicAuth(user[0], user[1])
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: GET %s: %s, want 401", name, route, resp.Status)
			}
		}
	}
	if got := asked(); len(got) > 0 {
		t.Errorf("the service was asked by those who were refused:\n%s", got)
	}

	scrapedBy(t, aegis, "http", `basic_auth: {username: prometheus, password: "open sesame"}`)
	if got := asked(); got == "" || strings.Contains(got, "Authorization") {
		t.Errorf("the service was asked with\n%s\nwant no credentials", got)
	}
}

// Who has no password cannot hold a connection with a body that never comes.
func TestBodyWithoutAPassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, aegis := startAegis(t, buildAegis(t), dir, "-web.config.file", passwordFile(t, dir, bcrypt.MinCost))
	c, err := net.Dial("tcp", aegis)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST /mine HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx")
	c.SetDeadline(time.Now().Add(limits.ReadHeaderTimeout / 2)) // Its body is not waited for.
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 401 ") {
		t.Errorf("%q, %v; want 401, and the end of the connection", answer, err)
	}
}

// passwordFile is a web configuration with which prometheus has the password "open
// sesame", with a hash of that cost.
func passwordFile(t *testing.T, dir string, cost int) string {
	t.Helper()
	return writeFile(t, dir, "web.yml", passwordLine(t, cost))
}

func passwordLine(t *testing.T, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), cost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("basic_auth_users: {prometheus: %q}\n", hash)
}

// scrapedBy has a real Prometheus, with these credentials, find mine by discovery
// and scrape it.
func scrapedBy(t *testing.T, aegis, scheme, credentials string) {
	t.Helper()
	binary := installed(t, "prometheus", "prometheus")
	prometheus := startPrometheus(t, binary, fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: aegis
    %[3]s
    http_sd_configs:
      - url: %[1]s://%[2]s/-/sd
        refresh_interval: 1s
        %[3]s
`, scheme, aegis, credentials))
	prometheus.await(t, "up", func() (readings, error) { return readings{{"mine", aegis}: 1}, nil })
}

// recordingService serves dir/name.sock. The function that it returns gives the
// header of what was asked so far.
func recordingService(t *testing.T, dir, name string) (asked func() string) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu  sync.Mutex
		log strings.Builder
	)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&log, r.RequestURI)
		r.Header.Write(&log)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "x 1")
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
}

func writeFile(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fetchWith returns status and body of a GET.
func fetchWith(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

// httpsClient trusts trusted.pem, and shows the certificate name.pem if one is
// named.
func httpsClient(t *testing.T, dir, name string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "trusted.pem"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(ca)
	if name != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		// Whatever authorities the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// issue writes a certificate of loopback and name@example.org, name.pem, and its key,
// name.key.
func (a authority) issue(t *testing.T, dir, name string) {
	t.Helper()
	a.issueUntil(t, dir, name, time.Now().Add(time.Hour))
}

func (a authority) issueUntil(t *testing.T, dir, name string, until time.Time) {
	t.Helper()
	a.issueOf(t, dir, name, until, newKey(t))
}

func (a authority) issueOf(t *testing.T, dir, name string, until time.Time, key crypto.Signer) {
	t.Helper()
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
	writeFile(t, dir, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	der, err = x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
