package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startTime is a metric that all three services have. Its value identifies a process.
const startTime = "process_start_time_seconds"

// TestPrometheus has a real Prometheus scrape three services that know nothing of Aegis,
// each with another client library. Prometheus knows nothing but the address of Aegis.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := func(service string) string { return filepath.Join(dir, service+".sock") }
	startNode := nodeExporter(t, socket("node"))
	startPython := pythonService(t, socket("python"))
	startNodejs := nodejsService(t, socket("nodejs"))

	startNode()
	python := startPython()
	startNodejs()
	_, aegis := startAegis(t, dir)
	prometheus := startPrometheus(t, fmt.Sprintf(`
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: aegis
    http_sd_configs:
      - url: http://%s/-/sd
        refresh_interval: 1s
`, aegis))
	up := func(node, python, nodejs float64) func() (readings, error) {
		r := readings{{"node", aegis}: node, {"python", aegis}: python, {"nodejs", aegis}: nodejs}
		return func() (readings, error) { return r, nil }
	}
	startTimes := func() (readings, error) {
		r := readings{}
		for _, name := range []string{"node", "python", "nodejs"} {
			value, err := readDirectly(socket(name), startTime)
			if err != nil {
				return nil, fmt.Errorf("scraping %s itself: %w", name, err)
			}
			r[origin{name, aegis}] = value
		}
		return r, nil
	}

	t.Log("each service is found and up")
	prometheus.await(t, "up", up(1, 1, 1))
	t.Log("each job has the metrics of its own service")
	prometheus.await(t, startTime, startTimes)

	t.Log("a service that stops is down, and the others are not")
	python.kill()
	prometheus.await(t, "up", up(1, 0, 1))
	t.Log("when it is started again, it is up again, as another process; there is no other job")
	startPython()
	prometheus.await(t, "up", up(1, 1, 1))
	prometheus.await(t, startTime, startTimes)
}

func nodeExporter(t *testing.T, socket string) (run func() *program) {
	t.Helper()
	activate := installed(t, "systemd-socket-activate", "systemd")
	exporter := installed(t, "prometheus-node-exporter", "prometheus-node-exporter")
	return func() *program {
		// In containers some of the other collectors fail, and one panics without /sys.
		return start(t, activate, "-l", socket, exporter, "--web.systemd-socket", "--collector.disable-defaults",
			"--collector.loadavg", "--collector.meminfo", "--collector.stat", "--collector.uname")
	}
}

func pythonService(t *testing.T, socket string) (run func() *program) {
	t.Helper()
	// The first on PATH may not be Debian's, which finds Debian's modules.
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import prometheus_client").Run() == nil {
			return func() *program {
				return start(t, python, "testdata/integration/python.py", socket)
			}
		}
	}
	missing(t, "a python3 with prometheus_client is missing; on Debian: apt install python3-prometheus-client")
	return nil
}

func nodejsService(t *testing.T, socket string) (run func() *program) {
	t.Helper()
	node := installed(t, "node", "nodejs")
	if exec.Command(node, "-e", "require('prom-client')").Run() != nil {
		missing(t, "the module prom-client of Node.js is missing; run npm install prom-client in any directory, and put its node_modules into NODE_PATH")
	}
	return func() *program {
		return start(t, node, "testdata/integration/nodejs.cjs", socket)
	}
}

// readDirectly returns the value that the service on socket has for a metric without labels.
func readDirectly(socket, metric string) (float64, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	resp, err := client.Get("http://localhost/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), metric+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no %s in the response (%v)", metric, lines.Err())
}

// prometheusAt is the address of a running Prometheus.
type prometheusAt string

// startPrometheus starts a Prometheus with config.
func startPrometheus(t *testing.T, config string) prometheusAt {
	t.Helper()
	binary := installed(t, "prometheus", "prometheus")
	dir := t.TempDir()
	p := start(t, binary, "--config.file="+writeFile(t, dir, "prometheus.yml", config),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	return prometheusAt(p.awaitOutput(t, `msg="Listening on".* address=(\S+)`)[1])
}

// scrapedBy has a real Prometheus that offers HTTP/2 find the target mine by service
// discovery and scrape it, with credentials for both.
func scrapedBy(t *testing.T, aegis, scheme, credentials string) {
	t.Helper()
	prometheus := startPrometheus(t, fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: aegis
    enable_http2: true
    %[3]s
    http_sd_configs:
      - url: %[1]s://%[2]s/-/sd
        refresh_interval: 1s
        enable_http2: true
        %[3]s
`, scheme, aegis, credentials))
	prometheus.await(t, "up", func() (readings, error) { return readings{{"mine", aegis}: 1}, nil })
}

// readings are the values of one metric by origin.
type readings map[origin]float64

// origin is the target that a series comes from.
type origin struct{ Job, Instance string }

// await waits until Prometheus has exactly the wanted readings of metric.
func (p prometheusAt) await(t *testing.T, metric string, wanted func() (readings, error)) {
	t.Helper()
	eventually(t, func() error {
		want, err := wanted()
		if err != nil {
			return err
		}
		found, err := p.query(metric)
		got := readings{}
		for _, s := range found {
			got[origin{s.labels["job"], s.labels["instance"]}] = s.value
		}
		if err == nil && !maps.Equal(got, want) {
			err = fmt.Errorf("%s is %v in Prometheus, want %v", metric, got, want)
		}
		return err
	})
}

// series is an element of the result of a query.
type series struct {
	labels map[string]string
	value  float64
}

// query returns the present result of an expression.
func (p prometheusAt) query(expr string) ([]series, error) {
	var result struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any // time, and the value as text
		}
	}
	if err := p.call("query", url.Values{"query": {expr}}, &result); err != nil {
		return nil, err
	}
	var all []series
	for _, r := range result.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("querying Prometheus: %w", err)
		}
		all = append(all, series{r.Metric, value})
	}
	return all, nil
}

// call decodes the response of Prometheus' HTTP API into data.
func (p prometheusAt) call(path string, params url.Values, data any) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + string(p) + "/api/v1/" + path + "?" + params.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	response := struct {
		Error string
		Data  any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&response); err != nil {
		return fmt.Errorf("querying Prometheus: %s, %w", resp.Status, err)
	}
	if response.Error != "" {
		return fmt.Errorf("querying Prometheus: %s", response.Error)
	}
	return nil
}
