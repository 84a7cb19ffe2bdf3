package web

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// targetGroup is an element of the list that Prometheus' HTTP service
// discovery reads
// (https://prometheus.io/docs/prometheus/latest/http_sd/).
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// discovery lists every socket that the asker may see as a target at the address
// under which Aegis was asked. Where the folder cannot be read it fails, and Prometheus keeps the
// list it has: an empty one would make the targets, and their alerts, vanish.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	entries, file, err := s.list(r)
	if err != nil {
		text(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	body := []byte{'['}
	group := targetGroup{Targets: []string{address(r)}, Labels: make(map[string]string)}
	for i, e := range entries {
		giveWay(i)
		if e.Err != nil {
			continue
		}
		clear(group.Labels)
		group.Labels["job"] = e.Name
		maps.Copy(group.Labels, file.Target(e.Name).Labels)
		group.Labels["__metrics_path__"] = "/" + e.Name
		if r.TLS != nil {
			group.Labels["__scheme__"] = "https"
		}
		one, err := json.Marshal(group)
		if err != nil {
			text(w, http.StatusInternalServerError, fmt.Sprintf("writing the list: %v", err))
			return
		}
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = append(body, one...)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, "]\n"...))
}

// list returns what of the catalog a page of Aegis' own may show to the sender of
// r, and the targets file by which that is so: it is another after a reload.
func (s *Server) list(r *http.Request) ([]socketdir.Entry, targetsfile.File, error) {
	ctx, cancel := context.WithTimeout(r.Context(), limits.ListTimeout)
	defer cancel()
	file := s.catalog.File()
	entries, err := s.catalog.List(ctx, file)
	return slices.DeleteFunc(entries, func(e socketdir.Entry) bool {
		return permit(file.Target(e.Name), r) != nil
	}), file, err
}

// address is the HOST:PORT that the request was sent to, in its own words.
func address(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return a.String()
	}
	return ""
}
