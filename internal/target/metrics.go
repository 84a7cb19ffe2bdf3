package target

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ScrapesTotal is the name of the only metric that has targets' names in its labels.
const ScrapesTotal = "aegis_scrapes_total"

// otherTargets is the target label for scrapes of targets beyond limits.MaxTargets. It is not a valid name.
const otherTargets = "(other)"

// metrics are those of scrapes and of the directory. The target label has names of sockets only, at most
// limits.MaxTargets of them; every other label has a closed set of values.
type metrics struct {
	scrapes     *prometheus.CounterVec // by target and result
	inFlight    prometheus.Gauge
	duration    prometheus.Histogram
	bytes       prometheus.Counter
	unknown     prometheus.Counter
	directoryUp prometheus.Gauge
	sockets     *prometheus.GaugeVec // without labels, so that it can be absent
}

func newMetrics(s *Set, registry prometheus.Registerer) *metrics {
	register := promauto.With(registry)
	register.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "aegis_backend_connections",
		Help: "Open connections to services, including idle ones.",
	}, func() float64 { return float64(s.client.Connections()) })
	return &metrics{
		scrapes: register.NewCounterVec(prometheus.CounterOpts{
			Name: ScrapesTotal,
			Help: "Scrapes of a target, by result: ok, canceled by the scraper, or why it failed.",
		}, []string{"target", "result"}),
		inFlight: register.NewGauge(prometheus.GaugeOpts{
			Name: "aegis_scrapes_in_flight",
			Help: "Scrapes in flight.",
		}),
		duration: register.NewHistogram(prometheus.HistogramOpts{
			Name:    "aegis_scrape_duration_seconds",
			Help:    "Duration of scrapes, from the request to the end of the response.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		bytes: register.NewCounter(prometheus.CounterOpts{
			Name: "aegis_relayed_bytes_total",
			Help: "Bytes of response bodies relayed from services to scrapers.",
		}),
		unknown: register.NewCounter(prometheus.CounterOpts{
			Name: "aegis_unknown_target_requests_total",
			Help: "Requests for a name that never was a target.",
		}),
		directoryUp: register.NewGauge(prometheus.GaugeOpts{
			Name: "aegis_sockdir_up",
			Help: "1 if the directory of sockets can be read, else 0.",
		}),
		sockets: register.NewGaugeVec(prometheus.GaugeOpts{
			Name: "aegis_sockets",
			Help: "Targets that are served; absent while the directory cannot be read.",
		}, nil),
	}
}
