package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// TestServicesThatRestart has a real Prometheus scrape many services every second while they
// stop and start at random. A scrape may fail only if its service was down, or if it was late
// because the hypervisor took the processors away. Aegis must use no more at the end than
// before.
//
// This runs it with a thousand services for ten minutes:
//
//	AEGIS_TEST_LOAD=1000,10m go test -run ServicesThatRestart -timeout 20m -v ./cmd/aegis
func TestServicesThatRestart(t *testing.T) {
	load := os.Getenv("AEGIS_TEST_LOAD")
	if load == "" {
		t.Skip("it takes a minute and loads the machine; AEGIS_TEST_LOAD=50,20s in the environment runs it, as .ci/run does")
	}
	number, duration, _ := strings.Cut(load, ",")
	count, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	length, err := time.ParseDuration(duration)
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	dir := t.TempDir()
	services := make(map[string]*restarting)
	for i := range count {
		name := fmt.Sprintf("svc%d", i)
		services[name] = startRestarting(t, filepath.Join(dir, name+".sock"))
	}
	_, aegis := startAegis(t, dir)
	prometheus := startPrometheus(t, fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: aegis
    http_sd_configs: [{url: "http://%[1]s/-/sd", refresh_interval: 5s}]
  - job_name: aegis-itself
    static_configs: [{targets: [%[1]q]}]
`, aegis))
	allUp := func() error {
		got, err := prometheus.query("up == 1")
		if err != nil || len(got) != count+1 {
			return fmt.Errorf("%d up, %v; want %d", len(got), err, count+1)
		}
		return nil
	}
	eventually(t, allUp)
	before := usageOf(t, aegis)

	host := watchHost(t)
	var restarts sync.WaitGroup
	start := time.Now()
	for _, s := range services {
		restarts.Go(func() { s.restartUntil(t, start.Add(length)) })
	}
	restarts.Wait()
	eventually(t, allUp)

	window := time.Since(start).Round(time.Second) + time.Second
	var scrapes, failed, explained, late int
	durations := prometheus.samples(t, fmt.Sprintf("scrape_duration_seconds[%s]", window))
	for name, ups := range prometheus.samples(t, fmt.Sprintf("up[%s]", window)) {
		for at, up := range ups {
			scrapes++
			if up == 1 {
				continue
			}
			failed++
			took := time.Duration(durations[name][at] * float64(time.Second))
			switch s := services[name]; {
			case s != nil && s.wasDown(at, at.Add(took)):
				explained++
			case took >= time.Second && host.stolen(at, at.Add(took)) > 0.2:
				late++
			default:
				t.Errorf("%s: the scrape at %s, which took %v, failed while the service was up", name, at.Format("15:04:05.000"), took)
			}
		}
	}
	t.Logf("%d services, %v: %d scrapes, %d failed, %d of them of a service that was down, %d of them late while the hypervisor took the processors away; it took %.0f %% of the time",
		count, window, scrapes, failed, explained, late, 100*host.stolen(start, time.Now()))
	if late > scrapes/100 {
		t.Errorf("%d of %d scrapes were late because of other machines on the same host, so this does not test Aegis; run it when the host is less busy", late, scrapes)
	}
	if failed == 0 || failed > scrapes/2 {
		t.Errorf("%d of %d scrapes failed, so this does not test restarts", failed, scrapes)
	}
	// How many connections Prometheus has is not Aegis' doing; each takes up to 16 KiB.
	eventually(t, func() error {
		after := usageOf(t, aegis)
		if after.descriptors-after.scrapers > before.descriptors-before.scrapers+10 ||
			// Goroutines that look up sockets stay.
			after.goroutines-after.scrapers > before.goroutines-before.scrapers+limits.MaxBlockingFSCalls+10 ||
			after.residentMiB > before.residentMiB+16+(after.scrapers-before.scrapers)/64 {
			return fmt.Errorf("Aegis uses %v; before: %v", after, before)
		}
		t.Logf("before: %v; after: %v", before, after)
		return nil
	})
}

// restarting is a service that stops and starts.
type restarting struct {
	path   string
	server *http.Server
	mu     sync.Mutex
	downs  []down
}

// down is a time in which a service may not have responded.
type down struct{ from, to time.Time }

func startRestarting(t *testing.T, path string) *restarting {
	t.Helper()
	s := &restarting{path: path}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.server.Close() })
	return s
}

func (s *restarting) start() error {
	l, err := net.Listen("unix", s.path)
	if err != nil {
		return err
	}
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "x 1")
	})}
	go s.server.Serve(l)
	return nil
}

func (s *restarting) restartUntil(t *testing.T, end time.Time) {
	for {
		time.Sleep(time.Duration(rand.Int64N(int64(8 * time.Second))))
		if time.Now().After(end) {
			return
		}
		from := time.Now()
		s.server.Close()
		time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Second))))
		if err := s.start(); err != nil {
			t.Error(err)
			return
		}
		s.mu.Lock()
		s.downs = append(s.downs, down{from, time.Now()})
		s.mu.Unlock()
	}
}

// blur is how much the timestamp of a sample may differ from the time of the scrape:
// Prometheus moves it by up to 2 ms, to align intervals, and truncates it to milliseconds.
const blur = 3 * time.Millisecond

// wasDown reports whether s was down at any moment between two times of Prometheus.
func (s *restarting) wasDown(from, to time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.downs {
		if !to.Before(d.from.Add(-blur)) && !from.After(d.to.Add(blur)) {
			return true
		}
	}
	return false
}

// host records how much processor time the hypervisor took while a test ran.
type host struct {
	mu      sync.Mutex
	records []ticks
}

// ticks are those of /proc/stat at one time.
type ticks struct {
	at            time.Time
	stolen, total float64
}

// watchHost records the host's ticks until the test ends.
func watchHost(t *testing.T) *host {
	h := new(host)
	ctx := t.Context()
	go func() {
		for ctx.Err() == nil {
			h.record()
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return h
}

func (h *host) record() {
	stat, _ := os.ReadFile("/proc/stat")
	all, _, _ := strings.Cut(string(stat), "\n")
	now := ticks{at: time.Now()}
	for i, field := range strings.Fields(strings.TrimPrefix(all, "cpu")) {
		const steal, guest = 7, 8 // proc_stat(5); the time of guests counts as time of users too.
		n, _ := strconv.ParseFloat(field, 64)
		if i == steal {
			now.stolen = n
		}
		if i < guest {
			now.total += n
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, now)
}

// stolen returns which part of the processors' time, 0 to 1, the hypervisor took between
// two times, from the last record before to the first after.
func (h *host) stolen(from, to time.Time) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var first, last ticks
	for _, r := range h.records {
		if first.total == 0 || !r.at.After(from) {
			first = r
		}
		if last = r; r.at.After(to) {
			break
		}
	}
	if last.total == first.total {
		return 0
	}
	return (last.stolen - first.stolen) / (last.total - first.total)
}

// samples returns the values of a range query by job and time.
func (p prometheusAt) samples(t *testing.T, query string) map[string]map[time.Time]float64 {
	t.Helper()
	var result struct {
		Result []struct {
			Metric origin
			Values [][2]any
		}
	}
	if err := p.call("query", url.Values{"query": {query}}, &result); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]map[time.Time]float64)
	for _, series := range result.Result {
		values := make(map[time.Time]float64)
		for _, v := range series.Values {
			value, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			if err != nil {
				t.Fatal(err)
			}
			values[time.UnixMilli(int64(v[0].(float64)*1000+0.5))] = value
		}
		out[series.Metric.Job] = values
	}
	return out
}
