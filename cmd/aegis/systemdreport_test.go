package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	reportDir      = "/run/systemd/report"
	prometheusAddr = "127.0.0.1:9090"
)

// TestSystemdReport scrapes systemd's own metrics through the units of nix/systemd with -varlinkdir, and compares them
// with what systemd's varlinkctl shows. promtool and a Prometheus read them. It runs in the container of systemd 260
// or later that .ci/systemd boots.
func TestSystemdReport(t *testing.T) {
	if os.Getenv("AEGIS_TEST_SYSTEMD") == "" {
		t.Skip("runs in the container that .ci/systemd boots")
	}
	newMachine(t)
	sockets, err := filepath.Glob(reportDir + "/io.systemd.*")
	if err != nil || len(sockets) < 6 {
		t.Fatalf("%v: only %q in %s", err, sockets, reportDir)
	}
	systemctl(t, "start", "aegis.socket")
	for _, socket := range sockets {
		name := filepath.Base(socket)
		t.Run(name, func(t *testing.T) {
			body := scrapeBody(t, "/"+name)
			lines := strings.SplitAfter(body, "\n")
			t.Logf("%d bytes, %d lines, beginning with\n%s", len(body), len(lines), strings.Join(lines[:min(30, len(lines))], ""))
			got, want := seriesOf(body), varlinkSeries(t, socket)
			for series := range maps.Keys(want) {
				if value, ok := got[series]; !ok || want[series] != "" && value != want[series] {
					t.Errorf("%s: %q, but varlinkctl shows %q", series, value, want[series])
				}
			}
			for series := range maps.Keys(got) {
				if _, ok := want[series]; !ok && !isTransient(series) {
					t.Errorf("%s is not what varlinkctl shows", series)
				}
			}
			promtoolCheck(t, body)
		})
	}
	out, err := exec.Command("aegis", "check", "-varlinkdir", reportDir).CombinedOutput()
	if t.Logf("aegis check -varlinkdir %s:\n%s", reportDir, out); err != nil {
		t.Error(err)
	}
	status := fmt.Sprintf("%d sockets in %s and %s; %d fine", len(sockets)+len(systemdServices), systemdDir, reportDir, len(sockets))
	waitFor(t, "the status "+status, func() bool { return strings.HasPrefix(property(t, "StatusText"), status) })
	measureScrapes(t, "/io.systemd.Manager")
	t.Run("Prometheus", func(t *testing.T) { checkUp(t, sockets) })
}

// isTransient reports whether a series is of a unit that may have come or gone since the scrape, or of systemd's state.
func isTransient(series string) bool {
	return strings.Contains(series, "@") || strings.Contains(series, "SystemState")
}

// seriesOf returns the value of each series in the text format.
func seriesOf(body string) map[string]string {
	series := make(map[string]string)
	for line := range strings.Lines(body) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			series[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	return series
}

// varlinkSeries returns the series that a socket should have, according to varlinkctl, with the value of those that
// stay the same.
func varlinkSeries(t *testing.T, socket string) map[string]string {
	t.Helper()
	out, err := exec.Command("varlinkctl", "call", "--more", "--json=short", socket, "io.systemd.Metrics.List", "{}").Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && strings.Contains(string(failed.Stderr), "NoSuchMetric") {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	series := make(map[string]string)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var m struct {
			Name, Object string
			Fields       map[string]string
			Value        any
		}
		if err := json.Unmarshal(bytes.TrimPrefix(lines.Bytes(), []byte("\x1e")), &m); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		labels, name, value := m.Fields, strings.ReplaceAll(m.Name, ".", "_"), ""
		if labels == nil {
			labels = make(map[string]string)
		}
		if m.Object != "" {
			labels["object"] = m.Object
		}
		switch v := m.Value.(type) {
		case string:
			if strings.Contains(v, "\n") {
				continue
			}
			name, labels["value"], value = name+"_info", v, "1"
		case float64:
			if v == 1<<64 {
				continue
			}
		default:
			continue
		}
		var pairs []string
		for _, label := range slices.Sorted(maps.Keys(labels)) {
			pairs = append(pairs, label+`="`+strings.ReplaceAll(labels[label], `\`, `\\`)+`"`)
		}
		if len(pairs) > 0 {
			name += "{" + strings.Join(pairs, ",") + "}"
		}
		if !isTransient(name) {
			series[name] = value
		}
	}
	return series
}

// promtoolCheck fails if promtool cannot parse body. It also lints names, which are systemd's.
func promtoolCheck(t *testing.T, body string) {
	t.Helper()
	promtool := exec.Command("promtool", "check", "metrics")
	promtool.Stdin = strings.NewReader(body)
	out, err := promtool.CombinedOutput()
	const lintFindings = 3
	if failed, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || failed.ExitCode() != lintFindings) {
		t.Errorf("promtool: %v: %s", err, out)
	}
}

// measureScrapes logs what scrapes take.
func measureScrapes(t *testing.T, path string) {
	const scrapes = 100
	ticks := func() (n int) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", mainPID(t)))
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(stat))[13:15] {
			var v int
			fmt.Sscan(field, &v)
			n += v
		}
		return n
	}
	scrapeBody(t, path)
	before, start := ticks(), time.Now()
	for range scrapes {
		scrapeBody(t, path)
	}
	t.Logf("a scrape of %s takes %v and %d µs of CPU of Aegis, which has %.1f MiB resident",
		path, time.Since(start)/scrapes, (ticks()-before)*10_000/scrapes, resident(t, mainPID(t)))
}

// checkUp has a Prometheus discover and scrape the sockets.
func checkUp(t *testing.T, sockets []string) {
	config := writeFile(t, t.TempDir(), "prometheus.yml", fmt.Sprintf(`scrape_configs:
  - job_name: aegis
    scrape_interval: 1s
    http_sd_configs: [{url: "http://%s/-/sd", refresh_interval: 1s}]
`, systemdAddr))
	start(t, "prometheus", "--config.file", config, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", prometheusAddr)
	query := func(query string) (jobs map[string]string) {
		resp, err := http.Get("http://" + prometheusAddr + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return nil
		}
		defer resp.Body.Close()
		var result struct {
			Data struct {
				Result []struct {
					Metric map[string]string
					Value  [2]any
				}
			}
		}
		body, _ := io.ReadAll(resp.Body)
		json.Unmarshal(body, &result)
		jobs = make(map[string]string)
		for _, r := range result.Data.Result {
			jobs[r.Metric["job"]] = fmt.Sprint(r.Value[1])
		}
		return jobs
	}
	var up map[string]string
	eventually(t, func() error {
		up = query("up")
		for _, socket := range sockets {
			if name := filepath.Base(socket); up[name] != "1" {
				return fmt.Errorf("up of %s is %q", name, up[name])
			}
		}
		return nil
	})
	t.Logf("up: %v", up)
	t.Logf("scrape_samples_scraped: %v", query("scrape_samples_scraped"))
	if failed := query(`io_systemd_Manager_UnitsByStateTotal{state="failed"}`); len(failed) != 1 {
		t.Errorf("failed units by job: %v", failed)
	}
}
