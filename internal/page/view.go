package page

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tulpa.dev/cadey/aegis/internal/target"
)

// View says which targets the page shows, and in which order.
type View struct {
	Query   string       // text to search for in names, states and reasons, ignoring case
	State   target.State // empty for all
	Sort    string       // Key of one of columns
	Reverse bool
	Page    int // counted from 1
}

// states are all states, the most urgent first.
var states = []target.State{target.Failing, target.Unscraped, target.Fine}

// stateTitle returns what the page calls a state; the empty state stands for all.
func stateTitle(s target.State) string {
	switch s {
	case "":
		return "total"
	case target.Unscraped:
		return "not scraped yet"
	}
	return string(s)
}

// column is a column of the table by which the page can be sorted. Its cells are in the template.
type column struct {
	Key, Title string
	Numeric    bool // its numbers are on the right; the largest come first
	ofScrape   bool // it shows something about the last scrape
	compare    func(a, b *target.Snapshot) int
}

const defaultSort = "state"

// columns are in the order of the table.
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

// ParseView returns the View for the query of the page's URL. The error says which value is wrong
// and which are right.
func ParseView(q url.Values) (View, error) {
	v := View{
		Query:   strings.TrimSpace(q.Get("q")),
		State:   target.State(q.Get("state")),
		Sort:    cmp.Or(q.Get("sort"), defaultSort),
		Reverse: q.Get("desc") == "1",
		Page:    1,
	}
	if v.State != "" && !slices.Contains(states, v.State) {
		return View{}, fmt.Errorf("unknown state=%.100q; use one of %s, %s, %s",
			v.State, states[0], states[1], states[2])
	}
	var keys []string
	for _, c := range columns {
		keys = append(keys, c.Key)
	}
	if !slices.Contains(keys, v.Sort) {
		return View{}, fmt.Errorf("unknown sort=%.100q; use one of %s", v.Sort, strings.Join(keys, ", "))
	}
	if page := q.Get("page"); page != "" {
		var err error
		if v.Page, err = strconv.Atoi(page); err != nil || v.Page < 1 {
			return View{}, fmt.Errorf("page=%.100q is not a page number; use 1 or more", page)
		}
	}
	return v, nil
}

// href returns the URL of the page for v, relative to that of the page: ParseView of its query returns v.
func (v View) href() string {
	q := url.Values{}
	if v.Query != "" {
		q.Set("q", v.Query)
	}
	if v.State != "" {
		q.Set("state", string(v.State))
	}
	if v.Sort != defaultSort {
		q.Set("sort", v.Sort)
	}
	if v.Reverse {
		q.Set("desc", "1")
	}
	if v.Page > 1 {
		q.Set("page", strconv.Itoa(v.Page))
	}
	return "./?" + q.Encode()
}

// choose returns the targets that v shows on all its pages, in its order. Those that were not
// scraped yet come last in a column about the last scrape, in either direction.
func (v View) choose(targets []target.Snapshot) []*target.Snapshot {
	var chosen []*target.Snapshot
	for i := range targets {
		t := &targets[i]
		if (v.State == "" || v.State == t.State) && v.finds(t.Err, t.Name, stateTitle(t.State)) {
			chosen = append(chosen, t)
		}
	}
	c := columns[slices.IndexFunc(columns, func(c column) bool { return c.Key == v.Sort })]
	slices.SortStableFunc(chosen, func(a, b *target.Snapshot) int {
		if unscraped := a.Last.At.IsZero(); c.ofScrape && unscraped != b.Last.At.IsZero() {
			if unscraped {
				return 1
			}
			return -1
		}
		if v.Reverse {
			a, b = b, a
		}
		return c.compare(a, b)
	})
	return chosen
}

// finds reports whether the reason, if there is one, or one of texts contains the query, ignoring
// case.
func (v View) finds(reason error, texts ...string) bool {
	if v.Query == "" {
		return true
	}
	if reason != nil {
		texts = append(texts, reason.Error())
	}
	query := strings.ToLower(v.Query)
	return slices.ContainsFunc(texts, func(text string) bool {
		return strings.Contains(strings.ToLower(text), query)
	})
}
