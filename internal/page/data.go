package page

import (
	"path/filepath"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/target"
)

// data is what the template gets.
type data struct {
	Content
	View View

	InDir, Elsewhere int // targets by whether their sockets are in the directory
	Tallies          []tally
	Headings         []heading

	Rows           []row
	First, Last    int    // the numbers of the first and the last row, counted from 1
	Matching       int    // rows on all pages
	Previous, Next string // links to other pages; empty if there are none

	NotServedRows []target.Entry // those that match, at most limits.MaxPageRows
	NotServedMore int            // how many more match
}

// tally is a link to all targets in a state, with their number.
type tally struct {
	State target.State // empty for all
	Count int
	Href  string
}

// heading is the title of a column: a link that sorts by it, or reverses the order if the page is
// sorted by it already.
type heading struct {
	column
	Href     string
	AriaSort string // ascending, descending, or empty if the page is sorted by another column
}

// row is a target as the page shows it.
type row struct {
	*target.Snapshot
	asOf time.Time
}

// Note returns why the last scrape failed if that says nothing about the service, else nil.
func (r row) Note() error {
	if r.Last.ReflectsService() {
		return nil
	}
	return r.Last.Err
}

// HasRecovered reports whether the target is fine and has failed before.
func (r row) HasRecovered() bool { return r.State == target.Fine && r.LastFailure.Err != nil }

// Age returns how long t was before the content was read.
func (r row) Age(t time.Time) age { return age{t.UTC().Format(time.RFC3339), formatAge(r.asOf.Sub(t))} }

// age is a time, and how long ago it was.
type age struct{ RFC3339, Text string }

func newData(v View, c Content) *data {
	d := &data{Content: c, View: v}
	if c.Err != nil {
		return d
	}
	d.countTargets()
	d.addHeadings()
	d.addRows()
	for _, e := range d.NotServed {
		switch {
		case !v.finds(e.Err, e.File):
		case len(d.NotServedRows) >= limits.MaxPageRows:
			d.NotServedMore++
		default:
			d.NotServedRows = append(d.NotServedRows, e)
		}
	}
	return d
}

// countTargets counts all targets, whatever the view selects.
func (d *data) countTargets() {
	counts := map[target.State]int{"": len(d.Targets)}
	for i := range d.Targets {
		counts[d.Targets[i].State]++
		if filepath.IsAbs(d.Targets[i].File) {
			d.Elsewhere++
		}
	}
	d.InDir = len(d.Targets) - d.Elsewhere
	for _, state := range append([]target.State{""}, states...) {
		v := d.View
		v.State, v.Query, v.Page = state, "", 1
		d.Tallies = append(d.Tallies, tally{state, counts[state], v.href()})
	}
}

func (d *data) addHeadings() {
	for _, c := range columns {
		v := d.View
		v.Sort, v.Reverse, v.Page = c.Key, c.Numeric, 1
		h := heading{column: c}
		if d.View.Sort == c.Key {
			v.Reverse = !d.View.Reverse
			h.AriaSort = "ascending"
			if d.View.Reverse {
				h.AriaSort = "descending"
			}
		}
		h.Href = v.href()
		d.Headings = append(d.Headings, h)
	}
}

// addRows adds the rows of the view's page, or those of the last page if there are fewer.
func (d *data) addRows() {
	matching := d.View.choose(d.Targets)
	pages := max(1, (len(matching)+limits.MaxPageRows-1)/limits.MaxPageRows)
	page := min(d.View.Page, pages)
	start := (page - 1) * limits.MaxPageRows
	end := min(start+limits.MaxPageRows, len(matching))
	d.First, d.Last, d.Matching = start+1, end, len(matching)
	v := d.View
	if page > 1 {
		v.Page = page - 1
		d.Previous = v.href()
	}
	if page < pages {
		v.Page = page + 1
		d.Next = v.href()
	}
	for _, t := range matching[start:end] {
		d.Rows = append(d.Rows, row{Snapshot: t, asOf: d.AsOf})
	}
}
