package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The steps of TestSystemd about configuration files, certificates and other programs.

// configure adds a drop-in to a unit. It returns a function that removes it.
func configure(t *testing.T, unit, text string) (undo func()) {
	t.Helper()
	dir := filepath.Join("/run/systemd/system", unit+".d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "test.conf", text)
	systemctl(t, "daemon-reload")
	return func() {
		os.RemoveAll(dir)
		systemctl(t, "daemon-reload")
	}
}

// brokenFile restarts the service with a targets file that it cannot parse. systemd tries
// again once a second, the status shows the fault, and a scrape that waits meanwhile gets its
// response as soon as the file is correct.
func (m *machine) brokenFile(t *testing.T) {
	path := filepath.Join("/etc", "targets.yml")
	fix := func() { os.WriteFile(path, []byte("targets: {}\n"), 0o644) }
	os.WriteFile(path, []byte("targets:\n  alpha: {timeout: 5}\n"), 0o644)
	undo := configure(t, "aegis.service", "[Service]\nExecStart=\nExecStart=/usr/local/bin/aegis -sockdir "+systemdDir+" -config.file "+path+"\n")
	defer func() {
		undo()
		systemctl(t, "restart", "aegis.service")
	}()
	defer fix()
	systemctl(t, "stop", "aegis.service")
	start := time.Now()
	scraped := make(chan struct{})
	go func() {
		defer close(scraped)
		scrapeBody(t, "/alpha")
	}()
	restarts := func() int {
		n, _ := strconv.Atoi(property(t, "NRestarts"))
		return n
	}
	waitFor(t, "three restarts", func() bool { return restarts() >= 3 })
	if took := time.Since(start); took < 2500*time.Millisecond {
		t.Errorf("three restarts took %v, want a second for each", took)
	}
	waitFor(t, "the status to show the fault", func() bool {
		status, _ := exec.Command("systemctl", "status", "--no-pager", "aegis.service").CombinedOutput()
		return strings.Contains(string(status), `timeout "5" is not a duration`)
	})
	fix()
	<-scraped
	t.Logf("a scrape waited %v for the file to be fixed, in %d restarts", time.Since(start).Round(time.Millisecond), restarts())
}

// renewedCertificate renews a certificate that systemd passes to the service as a credential.
// A reload keeps the old one, and a restart loads the new one without losing a scrape.
func (m *machine) renewedCertificate(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "trusted")
	ca.issue(t, dir, "server")
	writeFile(t, dir, "web.yml", "tls_server_config: {cert_file: /run/credentials/aegis.service/server.pem, key_file: /run/credentials/aegis.service/server.key}\n")
	text := "[Service]\nExecStart=\nExecStart=/usr/local/bin/aegis -sockdir " + systemdDir + " -web.config.file %d/web.yml\n"
	for _, name := range []string{"web.yml", "server.pem", "server.key"} {
		text += "LoadCredential=" + name + ":" + filepath.Join(dir, name) + "\n"
	}
	undo := configure(t, "aegis.service", text)
	defer func() {
		undo()
		systemctl(t, "restart", "aegis.service")
	}()
	systemctl(t, "restart", "aegis.service")

	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	// Without kept connections, because net/http retries a request on one that was closed.
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"},
	}}
	scrape := func() (serial string, err error) {
		resp, err := client.Get("https://" + systemdAddr + "/alpha")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != sampleBody("/alpha") {
			t.Errorf("%s: %v: %q", resp.Status, err, body)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String(), nil
	}
	serial := func() string {
		t.Helper()
		s, err := scrape()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var scrapes atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := scrape(); err != nil {
					t.Errorf("under load: %v", err)
				}
				scrapes.Add(1)
			}
		})
	}
	old := serial()
	waitFor(t, "load", func() bool { return scrapes.Load() > 100 })
	ca.issue(t, dir, "server")
	systemctl(t, "reload", "aegis.service")
	if serial() != old {
		t.Error("a reload serves the new certificate; the documentation says that it does not")
	}
	systemctl(t, "try-restart", "aegis.service")
	if serial() == old {
		t.Error("a restart serves the old certificate")
	}
	waitFor(t, "scrapes under load", func() bool { return scrapes.Load() > 500 })
	close(stop)
	clients.Wait()
	t.Logf("%d scrapes while the certificate was renewed", scrapes.Load())
}

// forward scrapes Debian's node exporter, which listens on TCP, through a socket and systemd's
// proxy. The proxy exits when idle, and the next scrape starts it again.
func (m *machine) forward(t *testing.T) {
	const unit = "aegis-forward-node.service"
	state := func() string {
		out, _ := exec.Command("systemctl", "show", "--value", "-p", "ActiveState", unit).Output()
		return strings.TrimSpace(string(out))
	}
	undo := configure(t, unit, "[Service]\nExecStart=\nExecStart=/usr/lib/systemd/systemd-socket-proxyd --exit-idle-time=1s 127.0.0.1:9100\n")
	defer undo()
	systemctl(t, "start", "prometheus-node-exporter.service", "aegis-forward-node.socket")
	defer systemctl(t, "stop", "aegis-forward-node.socket", "prometheus-node-exporter.service")
	waitFor(t, "the node exporter", func() bool {
		resp, err := http.Get("http://127.0.0.1:9100/metrics")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	for range 2 {
		if body := scrapeBody(t, "/node"); !strings.Contains(body, "node_uname_info") {
			t.Errorf("the node exporter's metrics: %.200q", body)
		}
		if state() != "active" {
			t.Errorf("the proxy is %s while somebody scrapes", state())
		}
		// Aegis keeps its connection a little, and an idle proxy exits after a second.
		waitFor(t, "the proxy to exit", func() bool { return state() == "inactive" })
	}

	systemctl(t, "stop", "prometheus-node-exporter.service")
	resp, err := http.Get("http://" + systemdAddr + "/node")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	t.Logf("without the exporter: %s: %s", resp.Status, body)
	if resp.StatusCode != http.StatusBadGateway {
		t.Errorf("without the exporter: %s, want 502", resp.Status)
	}
	if sd := scrapeBody(t, "/-/sd"); !strings.Contains(sd, `"job":"node"`) {
		t.Errorf("the target has vanished from discovery: %s", sd)
	}
	out, _ := exec.Command("systemd-analyze", "security", "--no-pager", unit).CombinedOutput()
	_, overall, _ := strings.Cut(string(out), "Overall exposure level for ")
	t.Logf("systemd-analyze security: %s", strings.TrimSpace(overall))
}
