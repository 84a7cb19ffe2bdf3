package main

import (
	"bufio"
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

// TestServicesThatRestart has a real Prometheus scrape many services every second
// while they stop and start at random. A scrape may fail only while its service
// was down, or was late because the machine had no time; and Aegis has to be at
// the end as it was at the beginning.
//
// A thousand services for ten minutes are
//
//	AEGIS_TEST_LOAD=1000,10m go test -run ServicesThatRestart -timeout 20m -v ./cmd/aegis
func TestServicesThatRestart(t *testing.T) {
	load := os.Getenv("AEGIS_TEST_LOAD")
	if load == "" {
		t.Skip("it takes a minute and load; AEGIS_TEST_LOAD=50,20s in the environment runs it, as .ci/run does")
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
	binary := installed(t, "prometheus", "prometheus")
	t.Parallel()
	dir := t.TempDir()
	services := make(map[string]*restarting)
	for i := range count {
		name := fmt.Sprintf("svc%d", i)
		services[name] = startRestarting(t, filepath.Join(dir, name+".sock"))
	}
	_, aegis := startAegis(t, buildAegis(t), dir)
	prometheus := startPrometheus(t, binary, fmt.Sprintf(`
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
	begin := ownCost(t, aegis)

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
				t.Errorf("%s: the scrape of %s, which took %v, failed while its service was up", name, at.Format("15:04:05.000"), took)
			}
		}
	}
	t.Logf("%d services, %v: %d scrapes, %d failed, %d of them of a service that was down, %d of them too late for Prometheus while this machine's processors were taken from it; in all %.0f %% of their time was",
		count, window, scrapes, failed, explained, late, 100*host.stolen(start, time.Now()))
	if late > scrapes/100 {
		t.Errorf("%d of %d scrapes came too late because of other machines on the same host: no test of Aegis; run it in a quieter time", late, scrapes)
	}
	if failed == 0 || failed > scrapes/2 {
		t.Errorf("%d of %d scrapes failed: no test of restarts", failed, scrapes)
	}
	// What is left of connections to services that are gone goes when it was idle
	// for limits.BackendIdleTimeout. How many connections Prometheus has is its own
	// doing, and each may take 16 KiB.
	eventually(t, func() error {
		end := ownCost(t, aegis)
		if end.descriptors-end.scrapers > begin.descriptors-begin.scrapers+10 ||
			end.goroutines-end.scrapers > begin.goroutines-begin.scrapers+limits.MaxBlockingFSCalls+10 || // Those who look at the folder stay.
			end.residentMiB > begin.residentMiB+16+(end.scrapers-begin.scrapers)/64 {
			return fmt.Errorf("Aegis takes %v, before it were %v", end, begin)
		}
		t.Logf("before: %v; after: %v", begin, end)
		return nil
	})
}

// restarting is a service that is up and down.
type restarting struct {
	path   string
	server *http.Server
	mu     sync.Mutex
	downs  []down
}

// down is a time in which a service may not have answered.
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

// blur is how far the time that Prometheus writes down may be from that of the
// scrape: it sets it back by up to 2 ms, to whole intervals, and then to a whole
// millisecond.
const blur = 3 * time.Millisecond

// wasDown reports whether s was down at any moment from from to to, by the times
// of Prometheus.
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

// host is what the hypervisor took of the processors' time while a test ran.
type host struct {
	mu    sync.Mutex
	looks []look
}

// look is the ticks of /proc/stat at one time: those stolen, and all.
type look struct {
	at         time.Time
	stolen, of float64
}

// watchHost watches until the test ends.
func watchHost(t *testing.T) *host {
	h := new(host)
	ctx := t.Context()
	go func() {
		for ctx.Err() == nil {
			h.look()
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return h
}

func (h *host) look() {
	stat, _ := os.ReadFile("/proc/stat")
	all, _, _ := strings.Cut(string(stat), "\n")
	now := look{at: time.Now()}
	for i, field := range strings.Fields(strings.TrimPrefix(all, "cpu")) {
		const steal, guest = 7, 8 // proc_stat(5); the time of guests is in that of users, too.
		ticks, _ := strconv.ParseFloat(field, 64)
		if i == steal {
			now.stolen = ticks
		}
		if i < guest {
			now.of += ticks
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks = append(h.looks, now)
}

// stolen returns the part that was taken of the time from from to to, from the
// last look before it to the first after it: 0 to 1.
func (h *host) stolen(from, to time.Time) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var first, last look
	for _, l := range h.looks {
		if first.of == 0 || !l.at.After(from) {
			first = l
		}
		if last = l; l.at.After(to) {
			break
		}
	}
	if last.of == first.of {
		return 0
	}
	return (last.stolen - first.stolen) / (last.of - first.of)
}

// samples returns the values of a range of one metric by job and time.
func (p prometheusAt) samples(t *testing.T, query string) map[string]map[time.Time]float64 {
	t.Helper()
	var answer struct {
		Result []struct {
			Metric origin
			Values [][2]any
		}
	}
	if err := p.ask("query", url.Values{"query": {query}}, &answer); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]map[time.Time]float64)
	for _, series := range answer.Result {
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

// cost is what a running Aegis takes.
type cost struct{ descriptors, goroutines, scrapers, residentMiB float64 }

// String returns c in words.
func (c cost) String() string {
	return fmt.Sprintf("%.0f descriptors and %.0f goroutines, with %.0f connections of scrapers, and %.1f MiB resident",
		c.descriptors, c.goroutines, c.scrapers, c.residentMiB)
}

func ownCost(t *testing.T, aegis string) cost {
	t.Helper()
	resp, err := http.Get("http://" + aegis + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	values := make(map[string]float64)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			values[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return cost{values["process_open_fds"], values["go_goroutines"], values["aegis_scraper_connections"], values["process_resident_memory_bytes"] / (1 << 20)}
}
