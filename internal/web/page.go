package web

import (
	"net/http"
	"slices"
	"time"

	"tulpa.dev/cadey/aegis/internal/page"
	"tulpa.dev/cadey/aegis/internal/target"
)

// page responds with the page for people.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	view, err := page.ParseView(r.URL.Query())
	if err != nil {
		writeText(w, http.StatusBadRequest, err.Error())
		return
	}
	p := page.New(view, s.pageContent(r))
	if !expensive(w, r, func() { err = p.Render() }) {
		return
	}
	if err != nil {
		writeText(w, http.StatusInternalServerError, err.Error())
		return
	}
	p.ServeHTTP(w, r)
}

func (s *Server) pageContent(r *http.Request) page.Content {
	entries, err := s.targets.VisibleTo(r)
	snapshots := s.targets.Snapshots(entries)
	return page.Content{
		Host:      s.baseURL(r).Host,
		Version:   s.version,
		Dir:       s.targets.Dir().String(),
		AsOf:      time.Now(),
		Err:       err,
		Targets:   snapshots,
		NotServed: slices.DeleteFunc(entries, func(e target.Entry) bool { return e.Err == nil }),
		Alerts:    s.reloads.describe(reloadAlert),
	}
}
