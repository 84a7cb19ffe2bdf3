package web

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/url"

	"github.com/prometheus/common/model"

	"tulpa.dev/cadey/aegis/internal/target"
)

// targetGroup is an element of a list for https://prometheus.io/docs/prometheus/latest/http_sd/.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// discovery lists every target that the client may see, at the URL where the client reaches Aegis. If the
// directory cannot be read it fails, and Prometheus keeps the list that it has: with an empty one the targets,
// and their alerts, would vanish.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	entries, err := s.targets.VisibleTo(r)
	if err != nil {
		writeText(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	var list bytes.Buffer
	encode := func() { json.NewEncoder(&list).Encode(targetGroups(entries, s.baseURL(r))) } // Strings cannot fail.
	if !expensive(w, r, encode) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(list.Bytes())
}

func targetGroups(entries []target.Entry, base url.URL) []targetGroup {
	groups := make([]targetGroup, 0, len(entries)) // A nil slice would be null.
	targets := []string{base.Host}
	for _, e := range entries {
		if e.Err != nil {
			continue
		}
		labels := map[string]string{"job": e.Name}
		maps.Copy(labels, e.Settings.Labels)
		labels["__metrics_path__"] = base.Path + "/" + e.Name
		for key, value := range e.Settings.Params {
			// Older versions of Prometheus reject the whole list for another name. Aegis adds every param itself.
			if name := "__param_" + key; model.LegacyValidation.IsValidLabelName(name) {
				labels[name] = value
			}
		}
		if base.Scheme == "https" {
			labels["__scheme__"] = "https"
		}
		groups = append(groups, targetGroup{targets, labels})
	}
	return groups
}

// baseURL returns where the client of r reaches Aegis: the external URL or, without one, the address in r.
func (s *Server) baseURL(r *http.Request) url.URL {
	if s.external.Host != "" {
		return *s.external
	}
	base := url.URL{Host: requestedHost(r)}
	if r.TLS != nil {
		base.Scheme = "https"
	}
	return base
}

// requestedHost returns the HOST:PORT that the request was sent to, as the client wrote it.
func requestedHost(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return a.String()
	}
	return ""
}
