package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// view is which sockets the page shows, and in which order.
type view struct {
	Query   string // in a name, a state or a reason, in either case
	State   string // one of states, or empty for all
	Sort    string // the key of one of columns
	Reverse bool
}

// parseView reads the query of a page's URL. The error says which value means
// nothing and what would.
func parseView(q url.Values) (view, error) {
	v := view{
		Query:   strings.TrimSpace(q.Get("q")),
		State:   q.Get("state"),
		Sort:    cmp.Or(q.Get("sort"), columns[0].Key),
		Reverse: q.Get("desc") == "1",
	}
	if v.State != "" && !slices.Contains(states, v.State) {
		return view{}, fmt.Errorf("state=%.100q means nothing; it is one of %s", v.State, strings.Join(states, ", "))
	}
	var keys []string
	for _, c := range columns {
		keys = append(keys, c.Key)
	}
	if !slices.Contains(keys, v.Sort) {
		return view{}, fmt.Errorf("sort=%.100q means nothing; it is one of %s", v.Sort, strings.Join(keys, ", "))
	}
	return v, nil
}

// href is the address of the page as v shows it.
func (v view) href() string {
	q := url.Values{}
	if v.Query != "" {
		q.Set("q", v.Query)
	}
	if v.State != "" {
		q.Set("state", v.State)
	}
	if v.Sort != columns[0].Key {
		q.Set("sort", v.Sort)
	}
	if v.Reverse {
		q.Set("desc", "1")
	}
	return "/?" + q.Encode()
}

// column is one by which the page can be sorted.
type column struct {
	Key, Title string
	compare    func(a, b *socket) int
	ofScrape   bool // it tells of the last scrape
	large      bool // the largest are the ones looked for
}

// columns are in the order of the table but for the first, which is the order
// where none is asked for.
var columns = []column{
	{Key: "state", Title: "State", compare: func(a, b *socket) int { return cmp.Compare(a.urgency(), b.urgency()) }},
	{Key: "name", Title: "Socket", compare: func(a, b *socket) int { return strings.Compare(a.entry.Name, b.entry.Name) }},
	{Key: "age", Title: "Last scrape", compare: func(a, b *socket) int { return b.last.at.Compare(a.last.at) }, ofScrape: true},
	{Key: "duration", Title: "Took", compare: func(a, b *socket) int { return cmp.Compare(a.last.took, b.last.took) }, ofScrape: true, large: true},
	{Key: "size", Title: "Size", compare: func(a, b *socket) int { return cmp.Compare(a.last.bytes, b.last.bytes) }, ofScrape: true, large: true},
	{Key: "series", Title: "Series", compare: func(a, b *socket) int { return cmp.Compare(a.series, b.series) }, ofScrape: true, large: true},
}

// matches reports whether v shows s.
func (v view) matches(s *socket) bool {
	return (v.State == "" || v.State == s.stateName()) && v.finds(s.entry.Name, stateTitles[s.stateName()], s.reason())
}

// finds reports whether one of texts is what is looked for.
func (v view) finds(texts ...string) bool {
	if v.Query == "" {
		return true
	}
	wanted := strings.ToLower(v.Query)
	return slices.ContainsFunc(texts, func(text string) bool {
		return strings.Contains(strings.ToLower(text), wanted)
	})
}

// sort orders sockets. Where the order is by a scrape, those that had none are
// last in either direction.
func (v view) sort(sockets []*socket) {
	i := slices.IndexFunc(columns, func(c column) bool { return c.Key == v.Sort })
	c := columns[i]
	slices.SortStableFunc(sockets, func(a, b *socket) int {
		if c.ofScrape && a.scraped() != b.scraped() {
			if a.scraped() {
				return -1
			}
			return 1
		}
		if v.Reverse {
			return c.compare(b, a)
		}
		return c.compare(a, b)
	})
}
