package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// metrics are Aegis' own. The target label has only names of sockets, at most
// limits.MaxTargets of them; every other label has a closed set of values.
type metrics struct {
	handler  http.Handler
	scrapes  *prometheus.CounterVec
	duration prometheus.Histogram
	bytes    prometheus.Counter
	unknown  prometheus.Counter
	refused  prometheus.Counter
	notTaken prometheus.Counter
}

func newMetrics(s *Server, version, revision string) *metrics {
	m := &metrics{
		scrapes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: scrapesTotal,
			Help: "Scrapes of a target, by result: ok, canceled by the scraper, or why it failed.",
		}, []string{"target", "result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "aegis_scrape_duration_seconds",
			Help:    "How long scrapes took, from the request to the end of the answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aegis_relayed_bytes_total",
			Help: "Bytes of body relayed from services to scrapers.",
		}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aegis_unknown_requests_total",
			Help: "Requests for a name that never was a socket.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aegis_refused_connections_total",
			Help: "Connections closed at accept because -allow does not name their address.",
		}),
		notTaken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aegis_answers_not_taken_total",
			Help: "Connections closed because their scraper did not take an answer that was sent.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "aegis_build_info",
		Help:        "1, with the version of Aegis in its labels.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build, m.scrapes, m.duration, m.bytes, m.unknown, m.refused, m.notTaken,
		folderCollector{s}, fileCollector{s},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "aegis_scrapes_in_flight",
			Help: "Scrapes under way.",
		}, func() float64 { return float64(s.client.InFlight()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "aegis_service_connections",
			Help: "Connections to services that are open, idle ones included.",
		}, func() float64 { return float64(s.client.Connections()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "aegis_scraper_connections",
			Help: fmt.Sprintf("Connections of scrapers that are open, idle ones included; more than %d are not served.", limits.MaxConns),
		}, func() float64 { return float64(s.Connections()) }),
	)
	m.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := seenBy{registry, s.catalog.File(), r}
		promhttp.HandlerFor(seen, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
	})
	return m
}

// scrapesTotal is the metric that has names of targets.
const scrapesTotal = "aegis_scrapes_total"

// seenBy is all metrics without those of targets that the sender of r may not see.
type seenBy struct {
	all  prometheus.Gatherer
	file targetsfile.File
	r    *http.Request
}

// Gather returns the metrics.
func (v seenBy) Gather() ([]*dto.MetricFamily, error) {
	families, err := v.all.Gather()
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
		if f.GetName() == scrapesTotal {
			f.Metric = slices.DeleteFunc(f.Metric, v.hidden)
		}
		return len(f.Metric) == 0
	})
	return families, err
}

func (v seenBy) hidden(m *dto.Metric) bool {
	return slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool {
		return l.GetName() == "target" && permit(v.file.Target(l.GetValue()), v.r) != nil
	})
}

// observe counts a finished scrape; known says whether it was of a target.
func (m *metrics) observe(known bool, o outcome) {
	if !known {
		m.unknown.Inc()
		return
	}
	if o.result == resultForbidden {
		return // It was not tried.
	}
	m.duration.Observe(o.took.Seconds())
	m.bytes.Add(float64(o.bytes))
}

// folderCollector reads the folder when metrics are collected.
type folderCollector struct{ s *Server }

var (
	folderUp = prometheus.NewDesc("aegis_sockdir_up", "1 if the folder of sockets can be read, else 0.", nil, nil)
	sockets  = prometheus.NewDesc("aegis_sockets", "Sockets in the folder that are served; absent while it cannot be read.", nil, nil)
)

func (c folderCollector) Describe(ch chan<- *prometheus.Desc) { ch <- folderUp; ch <- sockets }

func (c folderCollector) Collect(ch chan<- prometheus.Metric) {
	entries, err := c.s.targets.sweep(context.Background())
	if err != nil {
		ch <- prometheus.MustNewConstMetric(folderUp, prometheus.GaugeValue, 0)
		return
	}
	ch <- prometheus.MustNewConstMetric(folderUp, prometheus.GaugeValue, 1)
	n := 0
	for _, e := range entries {
		if e.Err == nil {
			n++
		}
	}
	ch <- prometheus.MustNewConstMetric(sockets, prometheus.GaugeValue, float64(n))
}

// fileCollector says whether the targets file was understood, and if not, why: in
// the words of package targetsfile and with a line, not with what stands there, which
// not every scraper may know.
type fileCollector struct{ s *Server }

var (
	fileUp    = prometheus.NewDesc("aegis_targets_file_up", "1 if the targets file was understood when it was last read, or if there is none; 0 while the one before stays in use.", nil, nil)
	fileFault = prometheus.NewDesc("aegis_targets_file_fault", "1, with what is wrong with the targets file and in which line; absent while nothing is.", []string{"reason", "line"}, nil)
)

func (c fileCollector) Describe(ch chan<- *prometheus.Desc) { ch <- fileUp; ch <- fileFault }

func (c fileCollector) Collect(ch chan<- prometheus.Metric) {
	err := c.s.staleFile()
	if err == nil {
		ch <- prometheus.MustNewConstMetric(fileUp, prometheus.GaugeValue, 1)
		return
	}
	ch <- prometheus.MustNewConstMetric(fileUp, prometheus.GaugeValue, 0)
	if reason, line := fault(err); reason != "" {
		ch <- prometheus.MustNewConstMetric(fileFault, prometheus.GaugeValue, 1, reason, line)
	}
}

// fault returns what is wrong with the targets file and in which line, as far as err
// says that.
func fault(err error) (reason, line string) {
	var fault *targetsfile.Fault
	if !errors.As(err, &fault) {
		return "", ""
	}
	if fault.Line > 0 {
		line = strconv.Itoa(fault.Line)
	}
	return string(fault.Reason), line
}
