package target

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// ScrapesTotal is the name of the only metric that has targets' names in its labels.
const ScrapesTotal = "aegis_scrapes_total"

// otherTargets is the target label for scrapes of targets beyond limits.MaxTargets. It is
// not a valid name.
const otherTargets = "(other)"

// metrics are those of scrapes. The target label has names of sockets only, at most
// limits.MaxTargets of them; every other label has a closed set of values.
type metrics struct {
	scrapes  *prometheus.CounterVec // by target and result
	duration prometheus.Histogram
	bytes    prometheus.Counter
	unknown  prometheus.Counter
}

func newMetrics(s *Set, registry prometheus.Registerer) *metrics {
	m := &metrics{
		scrapes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: ScrapesTotal,
			Help: "Scrapes of a target, by result: ok, canceled by the scraper, or why it failed.",
		}, []string{"target", "result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "aegis_scrape_duration_seconds",
			Help:    "Duration of scrapes, from the request to the end of the response.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aegis_relayed_bytes_total",
			Help: "Bytes of response bodies relayed from services to scrapers.",
		}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aegis_unknown_target_requests_total",
			Help: "Requests for a name that never was a target.",
		}),
	}
	registry.MustRegister(
		m.scrapes, m.duration, m.bytes, m.unknown, directoryCollector{s},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "aegis_scrapes_in_flight",
			Help: "Scrapes in flight.",
		}, func() float64 { return float64(s.InFlight()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "aegis_backend_connections",
			Help: "Open connections to services, including idle ones.",
		}, func() float64 { return float64(s.client.Connections()) }),
	)
	return m
}

// observe counts a scrape of a target.
func (m *metrics) observe(o Outcome) {
	if o.Result == Forbidden {
		return // The service was not scraped.
	}
	m.duration.Observe(o.Duration.Seconds())
	m.bytes.Add(float64(o.Bytes))
}

// directoryCollector reads the directory each time metrics are collected.
type directoryCollector struct{ set *Set }

var (
	directoryUp = prometheus.NewDesc("aegis_sockdir_up", "1 if the directory of sockets can be read, else 0.", nil, nil)
	sockets     = prometheus.NewDesc("aegis_sockets", "Sockets that are served; absent while the directory cannot be read.", nil, nil)
)

// Describe sends the descriptions of the metrics.
func (c directoryCollector) Describe(ch chan<- *prometheus.Desc) { ch <- directoryUp; ch <- sockets }

// Collect sends the metrics.
func (c directoryCollector) Collect(ch chan<- prometheus.Metric) {
	entries, err := c.set.Reconcile(context.Background())
	if err != nil {
		ch <- prometheus.MustNewConstMetric(directoryUp, prometheus.GaugeValue, 0)
		return
	}
	served := 0
	for _, e := range entries {
		if e.Err == nil {
			served++
		}
	}
	ch <- prometheus.MustNewConstMetric(directoryUp, prometheus.GaugeValue, 1)
	ch <- prometheus.MustNewConstMetric(sockets, prometheus.GaugeValue, float64(served))
}
