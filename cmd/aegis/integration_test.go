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
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startTime is a metric that all three services have. Its value tells one
// process from another, and stays while that process runs.
const startTime = "process_start_time_seconds"

// TestPrometheus has a real Prometheus scrape three services that know nothing
// of Aegis, each with another client library, through the real binary. All that
// Prometheus is told is where Aegis is.
func TestPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this test runs Prometheus and waits for its scrapes")
	}
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := func(service string) string { return filepath.Join(folder, service+".sock") }
	startNode := nodeExporter(t, socket("node"))
	startPython := pythonService(t, socket("python"))
	startNodejs := nodejsService(t, socket("nodejs"))
	prometheusBinary := installed(t, "prometheus", "prometheus")

	startNode()
	python := startPython()
	startNodejs()
	_, aegis := startAegis(t, buildAegis(t), folder)
	prometheus := startPrometheus(t, prometheusBinary, fmt.Sprintf(`
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
	// What the services themselves say, past Aegis.
	startTimes := func() (readings, error) {
		r := readings{}
		for _, name := range []string{"node", "python", "nodejs"} {
			value, err := ask(socket(name), startTime)
			if err != nil {
				return nil, fmt.Errorf("asking %s itself: %w", name, err)
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
	t.Log("started again, it is up again, as another process, and there is no other job")
	startPython()
	prometheus.await(t, "up", up(1, 1, 1))
	prometheus.await(t, startTime, startTimes)
}

// missing ends a test that cannot run for want of what.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// installed returns the path of a program that is in a Debian package.
func installed(t *testing.T, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, fmt.Sprintf("%s is missing; on Debian: apt install %s", name, debianPackage))
	}
	return path
}

func nodeExporter(t *testing.T, socket string) (run func() *program) {
	t.Helper()
	activate := installed(t, "systemd-socket-activate", "systemd")
	exporter := installed(t, "prometheus-node-exporter", "prometheus-node-exporter")
	return func() *program {
		// Not every collector: in containers some fail, and one panics without /sys.
		return start(t, "node", activate, "-l", socket, exporter, "--web.systemd-socket", "--collector.disable-defaults",
			"--collector.loadavg", "--collector.meminfo", "--collector.stat", "--collector.uname")
	}
}

func pythonService(t *testing.T, socket string) (run func() *program) {
	t.Helper()
	// The first on PATH need not be Debian's, which finds Debian's modules.
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import prometheus_client").Run() == nil {
			return func() *program {
				return start(t, "python", python, "testdata/integration/python.py", socket)
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
		missing(t, "Node.js' prom-client is missing; in any folder: npm install prom-client, and put its node_modules into NODE_PATH")
	}
	return func() *program {
		return start(t, "nodejs", node, "testdata/integration/nodejs.cjs", socket)
	}
}

// buildAegis builds the real binary. It returns its path.
func buildAegis(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "aegis")
	// Stamping fails where git does not trust the owner of the checkout.
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building aegis: %v\n%s", err, out)
	}
	return binary
}

// startAegis starts the real binary. It returns it with its address.
func startAegis(t *testing.T, binary, folder string, flags ...string) (p *program, address string) {
	t.Helper()
	p = start(t, "aegis", binary, append(flags, "-hostport", "127.0.0.1:0", "-sockdir", folder)...)
	return p, p.awaitOutput(t, `msg=serving address=(\S+)`)
}

// prometheusAt is the address of a running Prometheus.
type prometheusAt string

// startPrometheus starts a Prometheus that knows what is in config and nothing
// else.
func startPrometheus(t *testing.T, binary, config string) prometheusAt {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, "prometheus", binary, "--config.file="+file,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	return prometheusAt(p.awaitOutput(t, `msg="Listening on".* address=(\S+)`))
}

// readings are the values of one metric, by where Prometheus has them from.
type readings map[origin]float64

type origin struct{ Job, Instance string }

// ask returns what the service on socket says of a metric without labels.
func ask(socket, metric string) (float64, error) {
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
	return 0, fmt.Errorf("no %s in its answer (%v)", metric, lines.Err())
}

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

// series is one in the result of a query.
type series struct {
	labels map[string]string
	value  float64
}

// query returns what Prometheus has for an expression now.
func (p prometheusAt) query(expr string) ([]series, error) {
	var result struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any // when, and the value as text
		}
	}
	if err := p.ask("query", url.Values{"query": {expr}}, &result); err != nil {
		return nil, err
	}
	var all []series
	for _, r := range result.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("asking Prometheus: %w", err)
		}
		all = append(all, series{r.Metric, value})
	}
	return all, nil
}

// ask puts what Prometheus' API answers into data.
func (p prometheusAt) ask(path string, params url.Values, data any) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + string(p) + "/api/v1/" + path + "?" + params.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Error string
		Data  any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("asking Prometheus: %s, %w", resp.Status, err)
	}
	if answer.Error != "" {
		return fmt.Errorf("asking Prometheus: %s", answer.Error)
	}
	return nil
}

// eventually waits until condition has nothing to object.
func eventually(t *testing.T, condition func() error) {
	t.Helper()
	const patience = time.Minute
	deadline := time.Now().Add(patience)
	for err := condition(); err != nil; err = condition() {
		if time.Now().After(deadline) {
			t.Fatalf("still, after %v: %v", patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// program is a process that the test started.
type program struct {
	cmd *exec.Cmd
	log string // the file with its output
}

// start starts a program, which ends with the test.
func start(t *testing.T, name, binary string, args ...string) *program {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &program{exec.Command(binary, args...), log.Name()}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s (%v) wrote:\n%s", name, p.cmd.ProcessState, p.output(t))
		}
	})
	return p
}

// kill ends p, which may have ended before.
func (p *program) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (p *program) output(t *testing.T) []byte {
	t.Helper()
	out, err := os.ReadFile(p.log)
	if err != nil {
		t.Error(err)
	}
	return out
}

// awaitOutput waits until p has written what pattern matches, and returns the
// pattern's group.
func (p *program) awaitOutput(t *testing.T, pattern string) (group string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	eventually(t, func() error {
		match := re.FindSubmatch(p.output(t))
		if match == nil {
			return fmt.Errorf("%s has not written %s", p.cmd.Path, pattern)
		}
		group = string(match[1])
		return nil
	})
	return group
}
