package web

import (
	"net/http"
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"tulpa.dev/cadey/aegis/internal/target"
)

func registerMetrics(registry prometheus.Registerer, version, revision string) {
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	promauto.With(registry).NewGauge(prometheus.GaugeOpts{
		Name:        "aegis_build_info",
		Help:        "1, with the version of Aegis in its labels.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	}).Set(1)
}

// ownMetrics responds with Aegis' own metrics.
func (s *Server) ownMetrics(w http.ResponseWriter, r *http.Request) {
	s.targets.Reconcile(r.Context()) // aegis_sockdir_up says whether it fails.
	var families []*dto.MetricFamily
	var err error
	if !expensive(w, r, func() { families, err = s.gather(r) }) {
		return
	}
	gathered := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, err })
	promhttp.HandlerFor(gathered, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
}

// gather returns all metrics but those of targets that the client may not see.
func (s *Server) gather(r *http.Request) ([]*dto.MetricFamily, error) {
	families, err := s.registry.Gather()
	isHidden := func(m *dto.Metric) bool {
		return slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool {
			if l.GetName() != "target" {
				return false
			}
			t := s.targets.Get(l.GetValue())
			return t.Authorize(r) != nil
		})
	}
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
		if f.GetName() == target.ScrapesTotal {
			f.Metric = slices.DeleteFunc(f.Metric, isHidden)
		}
		return len(f.Metric) == 0
	})
	return families, err
}
