package page

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/target"
)

func TestPage(t *testing.T) {
	c := sample()
	check(t, c, "",
		"<title>3 failing · Aegis on "+host+"</title>",
		"9 sockets in "+dir+", as of", "2026-11-29 12:00:00 UTC",
		"<b>9</b> total", "<b>3</b> failing", "<b>1</b> not scraped yet", "<b>5</b> fine", "<b>6</b> not served",
		`<a href="./fine">fine</a>`, `<a href="./worker@1">worker@1</a>`,
		`<p class="reason">connection refused: nobody is listening on `+dir+`/stale.sock`,
		"failed <time", "</summary>connection refused: nobody is listening on "+dir,
		"<code>metrics.sock</code></th><td>/metrics is Aegis&#39; own page",
		"<code>link.sock</code></th><td>"+dir+"/link.sock is a symlink",
		"<code>&lt;img src=x onerror=alert(1)&gt;.sock</code></th><td>not a valid name",
		"<caption>Sockets and their last scrapes</caption>", `Aegis 1.2.3 · <a href="https://tulpa.dev/cadey/aegis">documentation</a>`,
		`<code>&#34;a\nb.sock&#34;</code>`, `<code>&#34;\u202ekcos.live.sock&#34;</code>`, `<code>&#34;\xff.sock&#34;</code>`,
	)
	if got := show(t, c, "").Code; got != http.StatusOK {
		t.Errorf("status %d, want 200", got)
	}
}

// A response with nothing in it is up in Prometheus, so nothing else shows it.
func TestEmptyResponse(t *testing.T) {
	c := many(0)
	c.Targets = []target.Snapshot{fine("empty"), unscraped("new")}
	c.Targets[0].Last.Bytes = 0
	for name, want := range map[string]bool{"empty": true, "new": false} {
		if got := strings.Contains(cells(t, c, name), "empty"); got != want {
			t.Errorf("%s is shown as empty: %v", name, got)
		}
	}
}

func TestDirectoryCannotBeRead(t *testing.T) {
	c := Content{
		Host: host, Dir: dir, AsOf: asOf,
		Err:    fmt.Errorf("no such directory: %s", dir),
		Alerts: []string{"The web file is broken."},
	}
	check(t, c, "", `role="alert">no such directory: `+dir, `<p class="alert">The web file is broken.`)
	got := show(t, c, "")
	if got.Code != http.StatusServiceUnavailable || strings.Contains(got.Body.String(), "no socket to scrape") {
		t.Errorf("status %d, want 503, and no other reason:\n%s", got.Code, got.Body)
	}
}

func TestNoSocketYet(t *testing.T) {
	c := many(0)
	check(t, c, "", "0 sockets in", "There is no socket to scrape yet. A service that listens on "+dir+"/NAME.sock")
	c.NotServed = sample().NotServed
	check(t, c, "", "<code>link.sock</code>")
}

// cells returns the text of the cells of a target's row after its state.
func cells(t *testing.T, c Content, name string) string {
	t.Helper()
	_, row, ok := strings.Cut(show(t, c, "").Body.String(), `<a href="./`+name+`">`)
	if !ok {
		t.Fatalf("no row for %s", name)
	}
	row, _, _ = strings.Cut(row, "</tr>")
	_, row, _ = strings.Cut(row, "<td>") // state
	_, row, _ = strings.Cut(row, "<td>")
	return strings.TrimSpace(regexp.MustCompile(`(\s*<[^>]*>\s*)+`).ReplaceAllString(row, " "))
}

func TestRow(t *testing.T) {
	c := sample()
	for name, want := range map[string]string{
		"new":  "– – –",
		"fine": "12 s ago 1.2 ms 29.3 KiB",
		"slow": "0 s ago 0 µs 0 B",
	} {
		if got := cells(t, c, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	check(t, c, "",
		`failing</span> for <time datetime="`+asOf.Add(-time.Minute).Format(time.RFC3339),
		`<p class="reason">`+scrape.ErrTimeout.Error()+": the service sent nothing",
		"since 2026-11-29 11:59:00 UTC",
		"last scrape: "+scrape.ErrCanceled.Error()+"</p>",
	)
}

func TestTargetsFile(t *testing.T) {
	c := sample()
	c.Targets[0].File = "/run/app/metrics.sock"
	c.NotServed = append(c.NotServed, notServed("off.sock", target.ErrDisabled))
	c.Alerts = []string{"The targets file is broken in line 3.", "The <b>web</b> file is broken."}
	check(t, c, "",
		"9 sockets, 8 in "+dir+" and 1 elsewhere, as of",
		"<code>off.sock</code></th><td>the targets file disables it",
		`<p class="alert">The targets file is broken in line 3.</p>`,
		`<p class="alert">The &lt;b&gt;web&lt;/b&gt; file is broken.</p>`,
	)
}

// Valid names have no markup, but nothing depends on that.
func TestNamesAreEscaped(t *testing.T) {
	c := many(0)
	c.Targets = []target.Snapshot{unscraped(`"><b>'&`)}
	check(t, c, "", `<a href="./%22%3e%3cb%3e%27&amp;">&#34;&gt;&lt;b&gt;&#39;&amp;</a>`)
}

func TestQueryIsEscaped(t *testing.T) {
	c := sample()
	c.Targets = append(c.Targets, failing("svc", fmt.Errorf("%w: 302 Found, to \"><b>", scrape.ErrStatus)))
	const query = "q=%22%3E%3Cb%3E"
	check(t, c, query, `value="&#34;&gt;&lt;b&gt;"`, `href="./?desc=1&amp;q=%22%3E%3Cb%3E&amp;sort=size"`, `href="./svc"`)
	if strings.Contains(show(t, c, query).Body.String(), `"><b>`+"\n") {
		t.Error("a query is markup")
	}
}

// The tallies count and link to all targets, whatever the search.
func TestTalliesCountAll(t *testing.T) {
	check(t, sample(), "q=worker",
		`<a href="./?state=failing"><b>3</b> failing`, `<a href="./#not-served"><b>6</b> not served`, "1 of 9 shown")
	check(t, many(1200), "", "1,200 sockets in", "<b>1,200</b> total")
}

func TestHeaders(t *testing.T) {
	got := show(t, sample(), "").Header()
	for field, want := range map[string]string{
		"X-Content-Type-Options": "nosniff",
		"X-Frame-Options":        "DENY",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-store",
		"Content-Type":           "text/html; charset=utf-8",
	} {
		if got := got.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	policy := got.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none';", "img-src data:;", "style-src 'sha256-", "script-src 'sha256-",
		"form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("the policy is too permissive: %s", policy)
	}
}
