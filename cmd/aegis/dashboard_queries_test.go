package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestDashboard has a real Prometheus scrape Aegis, with something to see in every panel, and
// runs every query of the dashboard as Grafana does.
func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	dir := t.TempDir()
	for _, s := range samples {
		startService(t, dir, s)
	}
	startService(t, dir, sample{name: "stuck", handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })})
	startService(t, dir, sample{name: "wrong", handler: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x one\n") }})
	startService(t, dir, sample{name: "lost", handler: http.NotFound})
	stopGone := startService(t, dir, sample{name: "gone", handler: samples[0].handler})

	varlinkdir := t.TempDir()
	serveUnits(t, filepath.Join(varlinkdir, "io.systemd.Manager"))
	_, host := startAegis(t, dir, "-varlinkdir", varlinkdir, "-allow", "127.0.0.1")
	config := t.TempDir()
	broken, noDirectory := startAegis(t, filepath.Join(dir, "missing"), "-config.file", writeFile(t, config, "targets.yml", "targets: {}\n"))
	writeFile(t, config, "targets.yml", "targets: [\n")
	broken.cmd.Process.Signal(syscall.SIGHUP)
	killed, down := startAegis(t, dir)
	killed.kill()
	prometheus := startPrometheus(t, fmt.Sprintf(`
global:
  scrape_interval: 500ms
  scrape_timeout: 500ms
scrape_configs:
  - job_name: aegis
    static_configs:
      - targets: [%[1]q, %[2]q, %[3]q]
    http_sd_configs:
      - url: http://%[1]s/-/sd
        refresh_interval: 1s
`, host, noDirectory, down))
	holdScrape(t, host, "stuck")

	// A target that fails only since its socket is gone counts as failing too.
	prometheus.await(t, `increase(aegis_scrapes_total{target="gone", result="ok"}[1m]) > bool 0`,
		func() (readings, error) { return readings{{"aegis", host}: 1}, nil })
	stopGone()
	prometheus.await(t, `up{job="gone"}`, func() (readings, error) { return readings{}, nil })
	eventually(t, func() error {
		if err := causeRejections(host); err != nil {
			return err
		}
		return d.shows(prometheus, map[string][]string{
			"Hosts: up":                   {"2"},
			"Hosts: down":                 {"1"},
			"Hosts: directory unreadable": {"1"},
			"Hosts: reload failed":        {"1"},
			"Targets: up":                 {"2"},
			"Targets: down":               {"6"},
			"Targets: not accepted":       {"1"},
			"Targets: gone":               {"1"},
			"Failed units: ":              {"1"},
			"Units by state: {{state}}":   {"1", "1"},
			"Failing targets: ":           {"leftover refused", "lost status", "sloth timeout", "stuck timeout", "website not_metrics"},
		})
	})
}

// holdScrape keeps a scrape of name in flight until the test ends.
func holdScrape(t *testing.T, host, name string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "120")
	go func() {
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
		}
	}()
}

// causeRejections connects from an address that -allow does not name, and requests a target
// that does not exist.
func causeRejections(host string) error {
	c, err := dialerFrom(net.IPv4(127, 0, 0, 2)).Dial("tcp", host)
	if err != nil {
		return err
	}
	c.Close()
	resp, err := http.Get("http://" + host + "/nobody")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// shows returns an error that lists each query that shows nothing: one that fails, has no
// value but 0 and NaN, or lacks the labels of its legend. The queries in want, by
// "PANEL: LEGEND", must show exactly that.
func (d dashboard) shows(prometheus prometheusAt, want map[string][]string) error {
	values, err := d.choices(prometheus)
	if err != nil {
		return err
	}
	var problems []string
	unseen := maps.Clone(want)
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			name := p.Title + ": " + q.LegendFormat
			delete(unseen, name)
			if err := q.shows(prometheus, values, want[name]); err != nil {
				problems = append(problems, fmt.Sprintf("panel %q, query %s: %v", p.Title, q.RefID, err))
			}
		}
	}
	for name := range unseen {
		problems = append(problems, fmt.Sprintf("there is no query %q", name))
	}
	if problems != nil {
		return fmt.Errorf("the dashboard does not show everything:\n%s", strings.Join(problems, "\n"))
	}
	return nil
}

var legendLabel = regexp.MustCompile(`{{(\w+)}}`)

func (q panelQuery) shows(prometheus prometheusAt, values map[string]string, want []string) error {
	expr, err := fill(q.Expr, values)
	if err != nil {
		return err
	}
	found, err := prometheus.query(expr)
	if err != nil {
		return err
	}
	var seen []string
	for _, s := range found {
		for _, label := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
			if s.labels[label[1]] == "" {
				return fmt.Errorf("no label %s for the legend in %v", label[1], s.labels)
			}
		}
		switch {
		case s.value == 0 || math.IsNaN(s.value):
		case s.labels["target"] != "":
			seen = append(seen, s.labels["target"]+" "+s.labels["result"])
		default:
			seen = append(seen, fmt.Sprint(s.value))
		}
	}
	slices.Sort(seen)
	if len(seen) == 0 {
		return fmt.Errorf("%d series, none with a value but 0 and NaN: %s", len(found), expr)
	}
	if want != nil && !slices.Equal(seen, want) {
		return fmt.Errorf("shows %q, want %q: %s", seen, want, expr)
	}
	return nil
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// choices returns the value of each variable if a user chooses All.
func (d dashboard) choices(prometheus prometheusAt) (map[string]string, error) {
	// Four times the interval of the query.
	values := map[string]string{"__rate_interval": "4m"}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		var q struct{ Query string }
		if err := json.Unmarshal(v.Query, &q); err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		parts := labelValues.FindStringSubmatch(q.Query)
		if parts == nil {
			return nil, fmt.Errorf("variable %s: %s is not label_values(SERIES, LABEL)", v.Name, q.Query)
		}
		selector, err := fill(parts[1], values)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		var all []string
		if err := prometheus.call("label/"+parts[2]+"/values", url.Values{"match[]": {selector}}, &all); err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("variable %s: %s has no values", v.Name, q.Query)
		}
		values[v.Name] = anyOf(all)
	}
	return values, nil
}

// anyOf returns several values as Grafana writes them into a query: as a regular expression
// within a PromQL string.
func anyOf(values []string) string {
	var quoted []string
	for _, v := range values {
		quoted = append(quoted, strings.ReplaceAll(regexp.QuoteMeta(v), `\`, `\\`))
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return "(" + strings.Join(quoted, "|") + ")"
}

// fill returns text with its variables replaced.
func fill(text string, values map[string]string) (string, error) {
	var unknown []string
	text = os.Expand(text, func(name string) string {
		value, ok := values[name]
		if !ok {
			unknown = append(unknown, name)
		}
		return value
	})
	if unknown != nil {
		return "", fmt.Errorf("there is no variable %s", strings.Join(unknown, ", "))
	}
	return text, nil
}
