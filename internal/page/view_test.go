package page

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
)

var rowLink = regexp.MustCompile(`<th scope="row"><a href="./([^"]*)">`)

// names returns the targets that the page for a query shows.
func names(t testing.TB, c Content, query string) []string {
	t.Helper()
	var names []string
	for _, m := range rowLink.FindAllStringSubmatch(show(t, c, query).Body.String(), -1) {
		names = append(names, m[1])
	}
	return names
}

func TestView(t *testing.T) {
	c := many(0)
	for _, s := range []target.Snapshot{
		fine("a"), fine("b"), failing("c", fmt.Errorf("%w: Nobody", socketdir.ErrRefused)), unscraped("new"),
	} {
		if i := strings.Index("bac", s.Name); i >= 0 {
			s.Last.At = asOf.Add(time.Duration(i) * time.Second)
			s.Last.Duration = time.Duration(10-i) * time.Second
			s.Last.Bytes = int64(i)
		}
		c.Targets = append(c.Targets, s)
	}
	for _, tt := range []struct{ query, want string }{
		{"", "c new a b"},
		{"desc=1", "a b new c"},
		{"sort=name", "a b c new"},
		{"sort=name&desc=1", "new c b a"},
		{"sort=age", "c a b new"},
		{"sort=age&desc=1", "b a c new"},
		{"sort=duration", "c a b new"},
		{"sort=size&desc=1", "c a b new"},
		{"state=failing", "c"},
		{"state=unscraped", "new"},
		{"state=fine&sort=name", "a b"},
		{"q=nobody", "c"},
		{"q=+B+", "c b"},
		{"q=scraped+yet", "new"},
		{"q=a&state=fine", "a"},
		{"q=absent", ""},
		{"unknown=1", "c new a b"},
		{"page=1", "c new a b"},
		{"page=7", "c new a b"},
	} {
		if got := strings.Join(names(t, c, tt.query), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.query, got, tt.want)
		}
	}
}

func TestParseViewErrors(t *testing.T) {
	for query, want := range map[string]string{
		"sort=nonsense": `unknown sort="nonsense"; use one of name, state, age, duration, size`,
		"sort=series":   `unknown sort="series"; use one of name, state, age, duration, size`,
		"state=%3Cb%3E": `unknown state="<b>"; use one of failing, unscraped, fine`,
		"page=0":        `page="0" is not a page number; use 1 or more`,
		"page=-1":       `page="-1" is not a page number; use 1 or more`,
		"page=two":      `page="two" is not a page number; use 1 or more`,
		"page=10e99":    `page="10e99" is not a page number; use 1 or more`,
		"page=" + strings.Repeat("9", 200): `page="` + strings.Repeat("9", 100) +
			`" is not a page number; use 1 or more`,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseView(q); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

func TestHref(t *testing.T) {
	for _, href := range []string{"./?", "./?desc=1&page=3&q=a+b&sort=size&state=fine"} {
		u, err := url.Parse(href)
		if err != nil {
			t.Fatal(err)
		}
		v, err := ParseView(u.Query())
		if got := v.href(); err != nil || got != href {
			t.Errorf("%s became %s, %v", href, got, err)
		}
	}
}

func TestPaging(t *testing.T) {
	c := many(2*limits.MaxPageRows + 500)
	for _, tt := range []struct {
		query       string
		first, last string
		rows        int
	}{
		{"sort=name", "s0000", "s0999", 1000},
		{"sort=name&page=2", "s1000", "s1999", 1000},
		{"sort=name&page=3", "s2000", "s2499", 500},
		{"sort=name&page=3&desc=1", "s0499", "s0000", 500},
		{"sort=name&page=4", "s2000", "s2499", 500}, // There are fewer targets than before.
		{"sort=name&page=9223372036854775807", "s2000", "s2499", 500},
		{"q=s2499", "s2499", "s2499", 1},
		{"q=s24&page=2", "s2400", "s2499", 100},
	} {
		got := names(t, c, tt.query)
		if len(got) != tt.rows || got[0] != tt.first || got[len(got)-1] != tt.last {
			t.Errorf("%s: %d rows, want %d from %s to %s", tt.query, len(got), tt.rows, tt.first, tt.last)
		}
	}
}

func TestPageLinks(t *testing.T) {
	c := many(2*limits.MaxPageRows + 500)
	const view = "q=s&sort=size&state=fine"
	const previous, next = `rel="prev">previous</a>`, `rel="next">next</a>`
	check(t, c, view, "Rows 1 to 1,000 of 2,500", `<a href="./?page=2&amp;q=s&amp;sort=size&amp;state=fine" `+next)
	check(t, c, view+"&page=2", "Rows 1,001 to 2,000 of 2,500",
		`<a href="./?q=s&amp;sort=size&amp;state=fine" `+previous,
		`<a href="./?page=3&amp;q=s&amp;sort=size&amp;state=fine" `+next,
		`<a href="./?q=s&amp;sort=name&amp;state=fine">Socket`) // Another order begins with its first page.
	check(t, c, view+"&page=3", "Rows 2,001 to 2,500 of 2,500",
		`<a href="./?page=2&amp;q=s&amp;sort=size&amp;state=fine" `+previous)
	for _, tt := range []struct {
		c               Content
		query, unwanted string
	}{
		{c, "", previous}, {c, "page=3", next}, {many(limits.MaxPageRows), "", `"Pages"`},
	} {
		if strings.Contains(show(t, tt.c, tt.query).Body.String(), tt.unwanted) {
			t.Errorf("page %q of %d targets has %s", tt.query, len(tt.c.Targets), tt.unwanted)
		}
	}
}

func TestNotServedIsBounded(t *testing.T) {
	c := many(1)
	for i := range limits.MaxPageRows + 3 {
		c.NotServed = append(c.NotServed, notServed(fmt.Sprintf("n%04d.sock", i), socketdir.ErrNotSocket))
	}
	html := show(t, c, "").Body.String()
	if n := strings.Count(html, "<code>"); n != limits.MaxPageRows {
		t.Errorf("%d rows, want %d", n, limits.MaxPageRows)
	}
	check(t, c, "", "3 more are not shown; search for", " data-partial>")
	check(t, c, "q=n1002", "<code>n1002.sock</code>", `<a href="#not-served"><b>1,003</b> not served`)
}
