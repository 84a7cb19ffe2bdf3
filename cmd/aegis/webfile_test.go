package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// A broken or weaker web file at reload leaves the one in use, and the log, the status line
// and the metrics say so.
func TestReloadOfTheWebFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	trusted := newAuthority(t, dir, "trusted")
	trusted.issue(t, dir, "server")
	trusted.issue(t, dir, "prometheus")
	passwords := passwordFile(t, bcrypt.MinCost)
	valid := passwords + mutualTLS
	path := writeFile(t, dir, "web.yml", valid)
	manager := newServiceManager(t)
	p := manager.start(t, "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", path)
	url := "https://" + p.awaitAddress(t)
	client, anonymous := httpsClient(t, dir, "prometheus"), httpsClient(t, dir, "")
	metric := func(line string) bool {
		_, metrics := getAs(client, url+"/metrics", "prometheus", rightPassword)
		return strings.Contains(metrics, "\n"+line)
	}
	const (
		successful = `aegis_config_last_reload_successful{file="web"} `
		errorInfo  = `aegis_config_reload_error_info{file="web",line="",reason="invalid"} 1`
	)
	if !metric(successful+"1") || metric("aegis_config_reload_error_info") {
		t.Error("the metrics of reloads are wrong before the first")
	}

	for _, tt := range []struct{ text, reason string }{
		{"tls_server_config: {cert_fil: server.pem}\n", "unknown key .*cert_fil"},
		{passwords, "has no TLS any more"},
		{mutualTLS, "has no passwords any more"},
		{passwords + serverTLS, "does not have client_auth_type: RequireAndVerifyClientCert any more"},
	} {
		writeFile(t, dir, "web.yml", tt.text)
		p.cmd.Process.Signal(syscall.SIGHUP)
		manager.await(t, "READY=1\nSTATUS=reload failed, keeping the previous web file: .*"+tt.reason,
			"STATUS=1 socket in .*; reloading the web file failed, so Aegis still uses the previous one: .*"+tt.reason)
		p.awaitOutput(t, `level=WARN msg="reload failed, keeping the previous web file" error=.*`+tt.reason)
		if !metric(successful+"0") || !metric(errorInfo) {
			t.Errorf("a file that %s: the metrics do not say so", tt.reason)
		}
		if status, body := getAs(client, url+"/svc", "prometheus", rightPassword); status != http.StatusOK {
			t.Errorf("a file that %s: a scrape with everything that was asked for got %d %s", tt.reason, status, body)
		}
		if status, _ := getAs(client, url+"/svc", "prometheus", "wrong"); status != http.StatusUnauthorized {
			t.Errorf("a file that %s: a scrape with a wrong password got %d", tt.reason, status)
		}
		if status, _ := getAs(anonymous, url+"/svc", "prometheus", rightPassword); status != 0 {
			t.Errorf("a file that %s: a scrape without a certificate got %d", tt.reason, status)
		}
		writeFile(t, dir, "web.yml", valid)
		p.cmd.Process.Signal(syscall.SIGHUP)
		manager.await(t, "READY=1\nSTATUS=reloaded\n")
		if !metric(successful+"1") || metric("aegis_config_reload_error_info") {
			t.Errorf("after a file that %s: the metrics do not say that a reload succeeded", tt.reason)
		}
	}

	// A password that is replaced is not good any more after the reload.
	writeFile(t, dir, "web.yml", strings.Replace(valid, "prometheus:", "grafana:", 1))
	p.cmd.Process.Signal(syscall.SIGHUP)
	manager.await(t, "READY=1\nSTATUS=reloaded\n")
	for user, want := range map[string]int{"prometheus": http.StatusUnauthorized, "grafana": http.StatusOK} {
		if status, _ := getAs(client, url+"/svc", user, rightPassword); status != want {
			t.Errorf("user %s after the reload: %d, want %d", user, status, want)
		}
	}
}
