package main

import (
	"fmt"
	"testing"
)

// Two sockets of one service become one job in a real Prometheus, whose series differ in a label.
func TestReplicas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "worker@1")
	stop := startService(t, dir, sample{name: "worker@2", handler: samples[0].handler})
	config := writeFile(t, t.TempDir(), "targets.yml", `
targets:
  worker@1:
    labels: {job: worker, replica: "1"}
  worker@2:
    labels: {job: worker, replica: "2"}
`)
	_, aegis := startAegis(t, dir, "-config.file", config)
	prometheus := startPrometheus(t, fmt.Sprintf(`
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: aegis
    http_sd_configs:
      - url: http://%s/-/sd
        refresh_interval: 1s
`, aegis))
	for replica := range 2 {
		expr := fmt.Sprintf(`up{job="worker", replica="%d"}`, replica+1)
		prometheus.await(t, expr, func() (readings, error) { return readings{{"worker", aegis}: 1}, nil })
	}
	stop()
	prometheus.await(t, `sum by (job, instance) (up{job="worker"})`, func() (readings, error) { return readings{{"worker", aegis}: 1}, nil })
}
