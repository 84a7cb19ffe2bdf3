package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

//go:embed index.html
var indexHTML string

var indexTemplate = template.Must(template.New("index").Parse(indexHTML))

// page is what the template of the page sees.
type page struct {
	Host      string
	Folder    string
	Err       error
	Now       time.Time // UTC
	View      view
	Sockets   int // of which so many are not in the folder
	Elsewhere int
	Tallies   []tally
	Heads     []head
	Rows      []row
	// Cut and UnservedCut are how many more there would be.
	Cut, UnservedCut int
	Unserved         []unserved
	AllUnserved      int // whatever the view
	// AccessErr is why owners, groups and modes are not known.
	AccessErr error
	StaleFile bool   // the targets file in use is not the one that is there
	FaultLine string // in which line that is wrong, if in one
	Hidden    bool   // an owner or group is
}

// tally is how many sockets are in a state, and a link to them.
type tally struct {
	Title, State, Href string
	Count              int
	Current            bool
}

// head is that of a column.
type head struct {
	column
	Href    string
	Aria    string // how the column is sorted, in the words of WAI-ARIA; or empty
	Numeric bool
}

// unserved is an entry of the folder that is not served.
type unserved struct{ File, Why string }

// index is the page for people: every socket, how its last scrape went, and what
// else there is in the folder.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	v, err := parseView(r.URL.Query())
	if err != nil {
		text(w, http.StatusBadRequest, err.Error())
		return
	}
	status := http.StatusOK
	p := s.page(r, v)
	if p.Err != nil {
		status = http.StatusServiceUnavailable
	}
	var body bytes.Buffer
	if err := indexTemplate.Execute(&unhurried{to: &body}, p); err != nil {
		text(w, http.StatusInternalServerError, "writing the page: "+err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body.Bytes())
}

// unhurried lets scrapes have their turn while much is written.
type unhurried struct {
	to      io.Writer
	written int
}

func (u *unhurried) Write(p []byte) (int, error) {
	if u.written += len(p); u.written >= 16<<10 {
		u.written = 0
		runtime.Gosched()
	}
	return u.to.Write(p)
}

// pagePolicy lets a browser load nothing, and run and apply nothing but what
// stands in the page's own template.
var pagePolicy = func() string {
	var body bytes.Buffer
	if err := indexTemplate.Execute(&body, page{}); err != nil {
		panic(err) // The template and page do not fit.
	}
	hash := func(element string) string {
		_, rest, _ := strings.Cut(body.String(), "<"+element+">")
		content, _, _ := strings.Cut(rest, "</"+element+">")
		sum := sha256.Sum256([]byte(content))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; img-src data:; style-src " + hash("style") + "; script-src " + hash("script") +
		"; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}()

// page gathers what the page shows of the folder.
func (s *Server) page(r *http.Request, v view) page {
	now := time.Now()
	p := page{Host: address(r), Folder: s.folder.String(), Now: now.UTC(), View: v}
	if err := s.staleFile(); err != nil {
		p.StaleFile = true
		_, p.FaultLine = fault(err)
	}
	entries, _, err := s.list(r)
	if err != nil {
		p.Err = err
		return p
	}
	sockets := s.split(&p, entries)
	p.Heads = heads(v)
	p.count(sockets)

	matching := slices.DeleteFunc(sockets, func(s *socket) bool { return !v.matches(s) })
	v.sort(matching)
	p.Cut = max(len(matching)-limits.MaxPageRows, 0)
	matching = matching[:len(matching)-p.Cut]
	access, err := s.access(r.Context(), &p, matching)
	p.AccessErr = err
	for i, s := range matching {
		giveWay(i)
		p.Rows = append(p.Rows, newRow(s, access[i], now))
	}
	return p
}

// split returns the sockets among entries, and puts the others on the page.
func (s *Server) split(p *page, entries []socketdir.Entry) []*socket {
	var sockets []*socket
	for i, e := range entries {
		giveWay(i)
		switch {
		case e.Err == nil:
			t, _ := s.targets.known(e.Name)
			sockets = append(sockets, &socket{e, t})
			if filepath.IsAbs(e.File) {
				p.Elsewhere++
			}
			continue
		case !p.View.finds(e.File, e.Err.Error()):
		case len(p.Unserved) >= limits.MaxPageRows:
			p.UnservedCut++
		default:
			p.Unserved = append(p.Unserved, unserved{shown(e.File), Why(e.Err)})
		}
		p.AllUnserved++
	}
	return sockets
}

// access returns three cells for each socket: to whom it belongs. Where the error
// is not nil they say that this is not known.
func (s *Server) access(ctx context.Context, p *page, sockets []*socket) ([]template.HTML, error) {
	entries := make([]socketdir.Entry, len(sockets))
	for i, s := range sockets {
		giveWay(i)
		entries[i] = s.entry
	}
	ctx, cancel := context.WithTimeout(ctx, limits.ListTimeout)
	defer cancel()
	all, err := s.folder.Ownership(ctx, entries)
	if err != nil {
		all = make([]socketdir.Ownership, len(sockets))
	}
	cells := make([]template.HTML, len(sockets))
	made := make(map[socketdir.Ownership]template.HTML) // There are few.
	for i, a := range all {
		if made[a] == "" {
			made[a] = accessCells(a)
		}
		cells[i] = made[a]
		p.Hidden = p.Hidden || a.Owner == socketdir.Hidden || a.Group == socketdir.Hidden
	}
	return cells, err
}

func accessCells(a socketdir.Ownership) template.HTML {
	var b strings.Builder
	if err := indexTemplate.ExecuteTemplate(&b, "access", a); err != nil {
		panic(err) // The template and Access do not fit.
	}
	return template.HTML(b.String())
}

// count makes the tallies.
func (p *page) count(sockets []*socket) {
	p.Sockets = len(sockets)
	counts := map[string]int{"": len(sockets)}
	for _, s := range sockets {
		counts[s.stateName()]++
	}
	for _, state := range append([]string{""}, states...) {
		v := p.View
		v.State, v.Query = state, "" // Of all, as the count is.
		p.Tallies = append(p.Tallies, tally{
			Title: stateTitles[state], State: state, Href: v.href(), Count: counts[state], Current: state == p.View.State,
		})
	}
}

// heads are those of the columns: each a link that sorts by it or, if that is so
// already, the other way round.
func heads(v view) []head {
	var all []head
	for _, c := range columns {
		to := v
		to.Sort, to.Reverse = c.Key, c.large
		h := head{column: c, Numeric: c.large}
		if v.Sort == c.Key {
			to.Reverse = !v.Reverse
			h.Aria = "ascending"
			if v.Reverse {
				h.Aria = "descending"
			}
		}
		h.Href = to.href()
		all = append(all, h)
	}
	// The table begins with the names.
	all[0], all[1] = all[1], all[0]
	return all
}
