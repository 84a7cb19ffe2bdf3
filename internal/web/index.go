package web

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/sockdir"
)

//go:embed index.html
var indexHTML string

var indexTemplate = template.Must(template.New("index").Parse(indexHTML))

// page is what the template of the index sees.
type page struct {
	Folder   string
	Err      error
	Targets  []row
	Unserved []sockdir.Entry
	Omitted  int
}

type row struct {
	Name  string
	Known bool
	State string
	Since string
	Last  string
	Took  time.Duration
	Bytes int64
}

// index is the page for people: every socket, and how its last scrape went.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	p := page{Folder: s.folder.String()}
	var entries []sockdir.Entry
	entries, p.Err = s.list(r)
	p.Omitted = max(len(entries)-limits.Page, 0)
	for _, e := range entries[:min(len(entries), limits.Page)] {
		if e.Err == nil {
			p.Targets = append(p.Targets, s.row(e.Name))
		} else {
			p.Unserved = append(p.Unserved, e)
		}
	}
	var body bytes.Buffer
	if err := indexTemplate.Execute(&body, p); err != nil {
		text(w, http.StatusInternalServerError, "writing the page: "+err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.Write(body.Bytes())
}

func (s *Server) row(name string) row {
	t, ok := s.targets.known(name)
	if !ok {
		return row{Name: name, State: "not scraped yet"}
	}
	ago := func(at time.Time) string { return time.Since(at).Round(time.Second).String() + " ago" }
	out := row{
		Name: name, Known: true, State: "fine",
		Last: ago(t.last.at), Took: t.last.took.Round(10 * time.Microsecond), Bytes: t.last.bytes,
	}
	if t.state.err != nil {
		out.State = t.state.err.Error()
	}
	if !t.since.IsZero() {
		out.Since = ago(t.since)
	}
	return out
}
