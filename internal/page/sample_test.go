package page

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
)

const (
	dir  = "/srv/within/run"
	host = "host.example:31337"
)

var asOf = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// hostileNames are file names that pretend to be something else.
var hostileNames = []string{"<img src=x onerror=alert(1)>.sock", "\u202ekcos.live.sock", "a\nb.sock", "\xff.sock"}

var errRefused = fmt.Errorf("%w: nobody is listening on %s/stale.sock; start its service", socketdir.ErrRefused, dir)

// sample returns targets in every state, and entries of every kind that is not served.
func sample() Content {
	slow := failing("slow", fmt.Errorf("%w: the service sent nothing in 9.5 s", scrape.ErrTimeout))
	slow.Last = target.Outcome{At: asOf, Result: target.Canceled, Err: scrape.ErrCanceled}
	flaps := fine("flaps")
	flaps.LastFailure = target.Outcome{At: asOf.Add(-2 * time.Hour), Result: target.Refused, Err: errRefused}
	c := Content{
		Host: host, Version: "1.2.3",
		Dir:  dir,
		AsOf: asOf,
		Targets: []target.Snapshot{
			fine("fine"), flaps, fine("gzipped"), fine(strings.Repeat("long-name.", 24)), unscraped("new"),
			slow, failing("stale", errRefused),
			failing("website", fmt.Errorf("%w: the response is text/html", scrape.ErrNotMetrics)), fine("worker@1"),
		},
		NotServed: []target.Entry{
			notServed("link.sock", fmt.Errorf("%w: %s/link.sock is a symlink", socketdir.ErrNotSocket, dir)),
			notServed("metrics.sock", fmt.Errorf("%w: /metrics is Aegis' own page", socketdir.ErrNotSocket)),
		},
	}
	for _, name := range hostileNames {
		c.NotServed = append(c.NotServed, notServed(name, fmt.Errorf("%w: not a valid name", socketdir.ErrNotSocket)))
	}
	return c
}

func entry(name string) target.Entry {
	return target.Entry{Entry: socketdir.Entry{File: name + socketdir.Suffix, Name: name}}
}

func notServed(file string, reason error) target.Entry {
	return target.Entry{Entry: socketdir.Entry{File: file, Name: file, Err: reason}}
}

func unscraped(name string) target.Snapshot {
	return target.Snapshot{Entry: entry(name), State: target.Unscraped, History: new(target.History)}
}

func fine(name string) target.Snapshot {
	return target.Snapshot{
		Entry: entry(name),
		State: target.Fine,
		History: &target.History{
			Since: asOf.Add(-26 * time.Hour),
			Last: target.Outcome{
				At: asOf.Add(-12 * time.Second), Duration: 1234 * time.Microsecond, Bytes: 30_000, Result: target.OK,
			},
		},
	}
}

func failing(name string, reason error) target.Snapshot {
	last := target.Outcome{
		At: asOf.Add(-time.Minute), Duration: time.Second, Result: target.ResultOf(reason), Err: reason,
	}
	return target.Snapshot{
		Entry: entry(name), State: target.Failing,
		History: &target.History{Since: last.At, Err: reason, Last: last, LastFailure: last},
	}
}

// many returns n targets that are fine, s0000 and so on.
func many(n int) Content {
	c := sample()
	c.Targets, c.NotServed = nil, nil
	for i := range n {
		c.Targets = append(c.Targets, fine(fmt.Sprintf("s%04d", i)))
	}
	return c
}

// show returns the page for a query, or fails the test.
func show(t testing.TB, c Content, query string) *httptest.ResponseRecorder {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseView(q)
	if err != nil {
		t.Fatal(err)
	}
	p := New(v, c)
	if err := p.Render(); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, nil)
	return w
}

// check fails the test if the page for a query lacks one of wants.
func check(t *testing.T, c Content, query string, wants ...string) {
	t.Helper()
	html := show(t, c, query).Body.String()
	for _, want := range wants {
		if !strings.Contains(html, want) {
			t.Errorf("the page for %q lacks %q", query, want)
		}
	}
	if t.Failed() {
		t.Logf("\n%s", html[strings.Index(html, "<body>"):])
	}
}
