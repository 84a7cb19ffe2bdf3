package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

const (
	serverTLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
	mutualTLS = serverTLS + "  client_ca_file: trusted.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
)

// allRoutes has one path of each kind.
var allRoutes = []string{"/", "/metrics", "/-/sd", "/-/healthy", "/-/ready", "/mine", "/absent"}

// TestMutualTLS has a real Prometheus, which offers HTTP/2, find and scrape a service over
// mutual TLS. Clients without a certificate of the right authority get nowhere.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	requests := recordingService(t, dir, "mine")
	recordingService(t, dir, "theirs")
	trusted := newAuthority(t, dir, "trusted")
	trusted.issue(t, dir, "server")
	trusted.issue(t, dir, "prometheus")
	newAuthority(t, dir, "foreign").issue(t, dir, "untrusted")
	_, addr := startAegis(t, dir,
		"-web.config.file", writeFile(t, dir, "web.yml", mutualTLS),
		"-config.file", writeFile(t, dir, "targets.yml", `
targets:
  mine: {allow: {certificates: [prometheus]}}
  theirs: {allow: {certificates: [somebody]}}
`))

	for _, tt := range []struct {
		name, scheme string
		client       *http.Client
	}{
		{"no certificate", "https", httpsClient(t, dir, "")},
		{"a certificate of another authority", "https", httpsClient(t, dir, "untrusted")},
		{"plain HTTP", "http", &http.Client{}},
	} {
		for _, route := range allRoutes {
			resp, err := tt.client.Get(tt.scheme + "://" + addr + route)
			if err != nil {
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: GET %s: %s", tt.name, route, resp.Status)
			}
		}
	}
	if got := requests(); len(got) > 0 {
		t.Errorf("the service got requests of clients that were refused:\n%s", got)
	}

	client := httpsClient(t, dir, "prometheus")
	for route, want := range map[string]string{
		"/mine":   "200 x 1\n",
		"/theirs": `403 theirs: forbidden: the targets file does not allow 127.0.0.1 with a certificate for ["prometheus"] to scrape this target (allow:)` + "\n",
		"/-/sd":   fmt.Sprintf("200 [{\"targets\":[%q],\"labels\":{\"__metrics_path__\":\"/mine\",\"__scheme__\":\"https\",\"job\":\"mine\"}}]\n", addr),
	} {
		if got := fetchWith(t, client, "https://"+addr+route); got != want {
			t.Errorf("GET %s: %q, want %q", route, got, want)
		}
	}
	resp, err := client.Get("https://" + addr + "/mine")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 1 {
		t.Errorf("a client that offers HTTP/2 got %s, want HTTP/1.1", resp.Proto)
	}

	scrapedBy(t, addr, "https", fmt.Sprintf("tls_config: {ca_file: %[1]s/trusted.pem, cert_file: %[1]s/prometheus.pem, key_file: %[1]s/prometheus.key}", dir))
}

// A client without the certificate that Aegis requires learns that, although it sends its
// request before it can know.
func TestReasonWhyTLSFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newAuthority(t, dir, "trusted").issue(t, dir, "server")
	newAuthority(t, dir, "foreign").issue(t, dir, "untrusted")
	_, addr := startAegis(t, dir, "-web.config.file", writeFile(t, dir, "web.yml", mutualTLS))
	for certificate, reason := range map[string]string{"": "certificate required", "untrusted": "unknown certificate authority"} {
		config := httpsClient(t, dir, certificate).Transport.(*http.Transport).TLSClientConfig
		for range 20 {
			if err := requestAfterClose(t, addr, config); err == nil || !strings.Contains(err.Error(), reason) {
				t.Fatalf("with the certificate %q: %v, want %s", certificate, err, reason)
			}
		}
	}
}

// requestAfterClose makes a TLS connection, waits until the server has closed it, and sends
// two requests. It returns the error.
func requestAfterClose(t *testing.T, addr string, config *tls.Config) error {
	t.Helper()
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		for err = unix.EINTR; err == unix.EINTR; { // A profiling or preemption signal may interrupt it.
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 10_000)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // The second fails if the connection was reset.
		if _, err := io.WriteString(c, get("/-/healthy")); err != nil {
			return err
		}
	}
	_, err = io.ReadAll(c)
	return err
}

// aegis check and the log say that the server's certificate has expired.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trusted := newAuthority(t, dir, "trusted")
	config := writeFile(t, dir, "web.yml", serverTLS)
	check := func() (string, error) {
		out, err := exec.Command("aegis", "check", "-web.config.file", config, "-sockdir", dir).CombinedOutput()
		return string(out), err
	}
	trusted.issueFor(t, dir, "server", newKey(t), time.Now().Add(-time.Minute))
	if out, err := check(); err == nil || !strings.Contains(out, "server.pem: the server's certificate expired on ") {
		t.Errorf("expired: %v: %s", err, out)
	}
	p, _ := startAegis(t, dir, "-web.config.file", config)
	p.awaitOutput(t, `msg="the server's certificate expired on `)
	trusted.issue(t, dir, "server")
	if out, err := check(); err != nil || !strings.Contains(out, "web.yml: valid\n") || strings.Contains(out, "expired") {
		t.Errorf("renewed: %v: %s", err, out)
	}
}

// TLS handshakes that fail do not flood the log.
func TestFailingTLSHandshakes(t *testing.T) {
	t.Parallel()
	p, addr, _ := startWithTLS(t)
	for range 20 {
		c := dial(t, addr)
		io.WriteString(c, get("/"))
		io.Copy(io.Discard, c)
		c.Close()
		// This client speaks HTTP/2 only.
		if c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}); err == nil {
			t.Errorf("HTTP/2 was agreed on: %q", c.ConnectionState().NegotiatedProtocol)
			c.Close()
		}
	}
	p.awaitOutput(t, "a client's TLS handshake failed")
	if n := strings.Count(string(p.output(t)), "handshake failed"); n != 1 {
		t.Errorf("40 handshakes that failed are in %d lines of the log, want 1", n)
	}
}

// Clients that send many requests over TLS and read no response take little memory, and a
// neighbour is served meanwhile.
func TestHostileClientsThatReadNothingOverTLS(t *testing.T) {
	const connections = 100
	for path, requests := range map[string]int{"/nobody": 300, "/other": 300, "/metrics": 100, "/large": 1} {
		t.Run(path[1:], func(t *testing.T) {
			p, addr, dir := startWithTLS(t)
			client := httpsClient(t, dir, "")
			scrape := func() bool { return fetchWith(t, client, "https://"+addr+"/svc") == "200 x 1\n" }
			checkNeighbour(t, dir, scrape)
			descriptors, before := p.processUsage(t)
			request := strings.Repeat(get(path), requests)
			var conns []net.Conn
			for range connections {
				raw, c := dialSmallTLS(t, addr)
				conns = append(conns, raw)
				go io.WriteString(c, request)
			}
			checkNeighbour(t, dir, scrape)
			p.checkMemory(t, before, 1.5*allowedGrowth())
			for _, c := range conns {
				c.Close()
			}
			awaitDescriptors(t, p, descriptors+20)
		})
	}
}

// A client that does not read its response over TLS is disconnected after the deadline of
// the scrape.
func TestUnreadResponseOverTLS(t *testing.T) {
	t.Parallel()
	p, addr, _ := startWithTLS(t)
	descriptors, _ := p.processUsage(t)
	_, c := dialSmallTLS(t, addr)
	io.WriteString(c, get("/large", "X-Prometheus-Scrape-Timeout-Seconds: 1"))
	awaitDescriptors(t, p, descriptors)
}

// dialSmallTLS returns a TLS connection with a small receive buffer, and the one below it.
func dialSmallTLS(t *testing.T, addr string) (raw net.Conn, c *tls.Conn) {
	t.Helper()
	raw, err := smallWindow.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return raw, c
}

// awaitDescriptors waits until p has at most limit descriptors.
func awaitDescriptors(t *testing.T, p *program, limit int) {
	t.Helper()
	eventually(t, func() error {
		if now, _ := p.processUsage(t); now > limit {
			return fmt.Errorf("%d descriptors, want at most %d", now, limit)
		}
		return nil
	})
}

// Idle TLS connections, as many as there may be, take little memory.
func TestMemoryOfIdleTLSConnections(t *testing.T) {
	p, addr, _ := startWithTLS(t)
	_, before := p.processUsage(t)
	config := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range limits.MaxTLSConns - 1 {
		c, err := tls.Dial("tcp", addr, config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, get("/svc"))
		resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
	}
	p.checkMemory(t, before, allowedGrowth())
}

// startWithTLS starts aegis for a sampleDirectory, with TLS but without client
// certificates.
func startWithTLS(t *testing.T) (p *program, addr, dir string) {
	t.Helper()
	dir = sampleDirectory(t)
	newAuthority(t, dir, "trusted").issue(t, dir, "server")
	p, addr = startAegis(t, dir, "-web.config.file", writeFile(t, dir, "web.yml", serverTLS))
	return p, addr, dir
}

// fetchWith returns the status and body of a GET.
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
