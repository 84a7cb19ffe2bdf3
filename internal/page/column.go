package page

import (
	"cmp"
	"slices"
	"strings"

	"tulpa.dev/cadey/aegis/internal/target"
)

// column is a column of the table by which the page can be sorted. Its cells are in the
// template.
type column struct {
	Key, Title string
	Numeric    bool // its numbers are on the right; the largest come first
	ofScrape   bool // it shows something of the last scrape
	compare    func(a, b *target.Snapshot) int
}

const defaultSort = "state"

// columns are in the order of the table. Owner, group and mode follow them there: they are
// read for the rows of one page only, so the page cannot be sorted by them.
var columns = []column{
	{Key: "name", Title: "Socket", compare: func(a, b *target.Snapshot) int {
		return strings.Compare(a.Name, b.Name)
	}},
	{Key: defaultSort, Title: "State", compare: func(a, b *target.Snapshot) int {
		return cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State))
	}},
	{Key: "age", Title: "Last scrape", ofScrape: true, compare: func(a, b *target.Snapshot) int {
		return b.Last.At.Compare(a.Last.At)
	}},
	{Key: "duration", Title: "Took", Numeric: true, ofScrape: true, compare: func(a, b *target.Snapshot) int {
		return cmp.Compare(a.Last.Duration, b.Last.Duration)
	}},
	{Key: "size", Title: "Size", Numeric: true, ofScrape: true, compare: func(a, b *target.Snapshot) int {
		return cmp.Compare(a.Last.Bytes, b.Last.Bytes)
	}},
}

// findColumn returns the column with the key, or nil.
func findColumn(key string) *column {
	i := slices.IndexFunc(columns, func(c column) bool { return c.Key == key })
	if i < 0 {
		return nil
	}
	return &columns[i]
}

func columnKeys() []string {
	var keys []string
	for _, c := range columns {
		keys = append(keys, c.Key)
	}
	return keys
}

// sort orders targets. Those that were not scraped yet come last in a column about the last
// scrape, in either direction.
func (v View) sort(targets []*target.Snapshot) {
	c := findColumn(v.Sort)
	slices.SortStableFunc(targets, func(a, b *target.Snapshot) int {
		switch {
		case c.ofScrape && scraped(a) != scraped(b):
			if scraped(a) {
				return -1
			}
			return 1
		case v.Reverse:
			return c.compare(b, a)
		}
		return c.compare(a, b)
	})
}

func scraped(t *target.Snapshot) bool { return !t.Last.At.IsZero() }
