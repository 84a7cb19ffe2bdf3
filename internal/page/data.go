package page

import (
	"path/filepath"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
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
	NotServedMore int            // that match, too

	OwnershipErr error // why owners, groups and modes are unknown
	HasHidden    bool  // an owner or group is socketdir.Hidden
}

// tally is a link to all targets in a state, with their number.
type tally struct {
	State   target.State // empty for all
	Title   string
	Count   int
	Href    string
	Current bool
}

// heading is the title of a column: a link that sorts by it, or reverses the order if the
// page is sorted by it already.
type heading struct {
	column
	Href     string
	AriaSort string // ascending, descending, or empty if the page is sorted by another column
}

func newData(v View, c Content) *data {
	d := &data{Content: c, View: v}
	if c.Err != nil {
		return d
	}
	d.countTargets()
	d.addHeadings()
	d.addRows()
	d.addNotServed()
	return d
}

// countTargets counts all targets, whatever the view selects.
func (d *data) countTargets() {
	counts := map[target.State]int{"": len(d.Targets)}
	for i := range d.Targets {
		counts[d.Targets[i].State]++
		if filepath.IsAbs(d.Targets[i].File) {
			d.Elsewhere++
		} else {
			d.InDir++
		}
	}
	for _, state := range append([]target.State{""}, states...) {
		v := d.View
		v.State, v.Query, v.Page = state, "", 1
		d.Tallies = append(d.Tallies, tally{
			state, stateTitle(state), counts[state], v.href(), state == d.View.State,
		})
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
	if page > 1 {
		d.Previous = d.pageHref(page - 1)
	}
	if page < pages {
		d.Next = d.pageHref(page + 1)
	}
	ownership := d.ownership(matching[start:end])
	for i, t := range matching[start:end] {
		d.Rows = append(d.Rows, row{t, ownership[i], d.AsOf})
	}
}

func (d *data) pageHref(page int) string {
	v := d.View
	v.Page = page
	return v.href()
}

// ownership returns the owner, group and mode of each target's socket. They are empty if they
// are unknown.
func (d *data) ownership(targets []*target.Snapshot) []socketdir.Ownership {
	if len(targets) == 0 {
		return nil
	}
	entries := make([]socketdir.Entry, len(targets))
	for i, t := range targets {
		entries[i] = t.Entry.Entry
	}
	all, err := d.Ownership(entries)
	if err != nil {
		d.OwnershipErr = err
		return make([]socketdir.Ownership, len(targets))
	}
	for _, o := range all {
		d.HasHidden = d.HasHidden || o.Owner == socketdir.Hidden || o.Group == socketdir.Hidden
	}
	return all
}

func (d *data) addNotServed() {
	for _, e := range d.NotServed {
		switch {
		case !d.View.finds(e.File, e.Err.Error()):
		case len(d.NotServedRows) >= limits.MaxPageRows:
			d.NotServedMore++
		default:
			d.NotServedRows = append(d.NotServedRows, e)
		}
	}
}
