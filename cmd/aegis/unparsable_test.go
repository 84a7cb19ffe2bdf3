package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// A real Prometheus alerts about a target whose metrics it cannot parse, although Aegis relays them well. It
// does not about one that fails.
func TestUnparsableTargetAlerts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "fine")
	startService(t, dir, sample{name: "wrong", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, "x one\n")
	}})
	startService(t, dir, sample{name: "down"})
	_, aegis := startAegis(t, dir)
	rules := t.TempDir()
	prometheus := startPrometheus(t, fmt.Sprintf(`
global:
  scrape_interval: 500ms
  evaluation_interval: 500ms
rule_files: [%[2]q]
scrape_configs:
  - job_name: aegis
    static_configs:
      - targets: [%[1]q]
    http_sd_configs:
      - url: http://%[1]s/-/sd
        refresh_interval: 1s
`, aegis, writeFile(t, rules, "rules.json", unparsableRule(t))))
	firing := func() (readings, error) { return readings{{"wrong", aegis}: 1}, nil }
	prometheus.await(t, `ALERTS{alertname="AegisTargetUnparsable", alertstate="firing"}`, firing)
}

// unparsableRule returns the rule file with the alert AegisTargetUnparsable, in seconds instead of minutes.
func unparsableRule(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../nix/alerts.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string           `json:"name"`
			Rules []map[string]any `json:"rules"`
		} `json:"groups"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, rule := range file.Groups[0].Rules {
		if rule["alert"] == "AegisTargetUnparsable" {
			rule["for"] = "5s"
			rule["expr"] = strings.ReplaceAll(rule["expr"].(string), "[12m]", "[4s]")
			file.Groups[0].Rules = []map[string]any{rule}
		}
	}
	text, err = json.Marshal(file)
	if err != nil || len(file.Groups[0].Rules) != 1 {
		t.Fatalf("%v: there is no such rule in %s", err, text)
	}
	return string(text)
}
