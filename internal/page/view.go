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

// View is which targets the page shows, and in which order.
type View struct {
	Query   string       // is searched for in names, states and reasons, ignoring case
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

// ParseView returns the View for the query of the page's URL. The error says which value is
// wrong and which are right.
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
	if findColumn(v.Sort) == nil {
		return View{}, fmt.Errorf("unknown sort=%.100q; use one of %s", v.Sort, strings.Join(columnKeys(), ", "))
	}
	if page := q.Get("page"); page != "" {
		var err error
		if v.Page, err = strconv.Atoi(page); err != nil || v.Page < 1 {
			return View{}, fmt.Errorf("page=%.100q is not a page number; use 1 or more", page)
		}
	}
	return v, nil
}

// href returns the URL of the page for v: ParseView of its query returns v.
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
	return "/?" + q.Encode()
}

// choose returns the targets that v shows on all its pages, in its order.
func (v View) choose(targets []target.Snapshot) []*target.Snapshot {
	var chosen []*target.Snapshot
	for i := range targets {
		if v.matches(&targets[i]) {
			chosen = append(chosen, &targets[i])
		}
	}
	v.sort(chosen)
	return chosen
}

func (v View) matches(t *target.Snapshot) bool {
	if v.State != "" && v.State != t.State {
		return false
	}
	reason := ""
	if t.Err != nil {
		reason = t.Err.Error()
	}
	return v.finds(t.Name, stateTitle(t.State), reason)
}

// finds reports whether one of texts contains the query, ignoring case.
func (v View) finds(texts ...string) bool {
	if v.Query == "" {
		return true
	}
	query := strings.ToLower(v.Query)
	return slices.ContainsFunc(texts, func(text string) bool {
		return strings.Contains(strings.ToLower(text), query)
	})
}
