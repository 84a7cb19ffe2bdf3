package web

import (
	"compress/gzip"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// hostileNames are file names that are not to be taken for what they say.
var hostileNames = []string{"<img src=x onerror=alert(1)>.sock", "\u202ekcos.live.sock", "a\nb.sock", "\xff.sock"}

// startSample serves sockets in every state there is, and entries that are none.
func startSample(t *testing.T) *aegis {
	t.Helper()
	a := start(t)
	long := strings.Repeat("long-name.", 24)
	for _, name := range []string{"fine", "new", "metrics", "worker@1", "long"} {
		a.service(name, fine)
	}
	// No socket is made with a path that long.
	if err := os.Rename(filepath.Join(a.dir, "long.sock"), filepath.Join(a.dir, long+".sock")); err != nil {
		t.Fatal(err)
	}
	a.service("gzipped", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for i := range 12345 {
			fmt.Fprintf(z, "requests_total{path=\"/%d\"} %d\n", i, i)
		}
		z.Close()
	})
	a.service("website", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
	})
	a.service("slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	a.stale("stale")
	a.stale("flaps")
	for _, name := range []string{"fine", "gzipped", "worker@1", "website", "stale", "flaps", long} {
		a.get("/" + name)
	}
	a.get("/slow", "X-Prometheus-Scrape-Timeout-Seconds", "0.1")
	mustRemove(t, filepath.Join(a.dir, "flaps.sock"))
	a.service("flaps", fine)
	a.get("/flaps")

	for _, name := range hostileNames {
		if err := os.WriteFile(filepath.Join(a.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("fine.sock", filepath.Join(a.dir, "link.sock")); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestIndex(t *testing.T) {
	a := startSample(t)
	got := a.get("/")
	for _, want := range []string{
		"9 sockets in " + a.dir,
		"<b>9</b> in all", "<b>3</b> failing", "<b>1</b> never scraped yet", "<b>5</b> fine", "<b>6</b> not served",
		`<a href="/fine">fine</a>`, `<a href="/worker@1">worker@1</a>`,
		`<p class="why">connection refused: nobody is listening on ` + a.dir + `/stale.sock`,
		"failed <time", "</summary>connection refused: nobody is listening on " + a.dir + "/flaps.sock",
		"<code>metrics.sock</code><td>its name is that of a page",
		"<code>link.sock</code><td>" + a.dir + "/link.sock is a link",
		"<code>&lt;img src=x onerror=alert(1)&gt;.sock</code><td>not a valid name",
		`<code>&#34;a\nb.sock&#34;</code>`, `<code>&#34;\u202ekcos.live.sock&#34;</code>`, `<code>&#34;\xff.sock&#34;</code>`,
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if got.StatusCode != 200 || t.Failed() {
		t.Errorf("%d\n%s", got.StatusCode, got.body)
	}

	mustRemove(t, a.dir)
	if got := a.get("/"); got.StatusCode != 503 || !strings.Contains(got.body, `role="alert">no such folder: `+a.dir) {
		t.Errorf("without the folder: %d\n%s", got.StatusCode, got.body)
	}
}

// numbers are the cells of a row behind its state, without markup.
func (a *aegis) numbers(name string) string {
	a.t.Helper()
	_, row, ok := strings.Cut(a.get("/").body, `<a href="/`+name+`">`)
	if !ok {
		a.t.Fatalf("no row of %s", name)
	}
	row, _, _ = strings.Cut(row, "</table>")
	row, _, _ = strings.Cut(row, "<tr")
	_, row, _ = strings.Cut(row, "<td>") // state
	_, row, _ = strings.Cut(row, "<td>")
	return strings.TrimSpace(regexp.MustCompile(`(\s*<[^>]*>\s*)+`).ReplaceAllString(row, " "))
}

func TestRow(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	path := filepath.Join(a.dir, "svc.sock")
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	if got, want := a.numbers("svc"), "– – – – root root 0660"; !strings.HasPrefix(got, want) && os.Geteuid() == 0 {
		t.Errorf("never scraped: %q, want %q", got, want)
	}
	now := time.Now()
	a.targets.record("svc", true, outcome{at: now.Add(-3 * time.Hour), took: 1234 * time.Microsecond, bytes: 30_000, result: resultOK, counted: true, series: 1234567})
	if got, want := a.numbers("svc"), "3 h ago 1.2 ms 29.3 KiB 1\u202f234\u202f567 "; !strings.HasPrefix(got, want) {
		t.Errorf("scraped: %q, want %q", got, want)
	}
	a.targets.record("svc", true, outcome{at: now.Add(-time.Minute), took: time.Second, bytes: 5, result: "timeout", err: scrape.ErrTimeout})
	a.targets.record("svc", true, outcome{at: now, result: resultCanceled, err: scrape.ErrCanceled})
	page := a.get("/").body
	for _, want := range []string{
		"failing</span> for <time datetime=\"" + now.Add(-time.Minute).UTC().Format(time.RFC3339),
		`<p class="why">no whole answer in time</p>`, "last time, the scraper went away", `title="counted 3 h ago"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if got, want := a.numbers("svc"), "0 s ago 0 µs 0 B ≈ 1\u202f234\u202f567 "; !strings.HasPrefix(got, want) {
		t.Errorf("canceled: %q, want %q", got, want)
	}
}

func TestView(t *testing.T) {
	a := start(t)
	now := time.Now()
	for i, name := range []string{"b", "a", "c", "new"} {
		a.service(name, fine)
		o := outcome{at: now.Add(time.Duration(i) * time.Second), took: time.Duration(10-i) * time.Second, bytes: int64(i), result: resultOK, counted: true, series: i % 2}
		if name == "c" {
			o.result, o.err = "refused", fmt.Errorf("%w: Nobody", socketdir.ErrRefused)
		}
		if name != "new" {
			a.targets.record(name, true, o)
		}
	}
	for _, tt := range []struct{ query, want string }{
		{"", "c new a b"},
		{"?desc=1", "a b new c"},
		{"?sort=name", "a b c new"},
		{"?sort=name&desc=1", "new c b a"},
		{"?sort=age", "c a b new"},
		{"?sort=age&desc=1", "b a c new"},
		{"?sort=duration", "c a b new"},
		{"?sort=size&desc=1", "c a b new"},
		{"?sort=series&desc=1", "a b c new"},
		{"?state=failing", "c"},
		{"?state=unscraped", "new"},
		{"?state=fine&sort=name", "a b"},
		{"?q=nobody", "c"},
		{"?q=+B+", "c b"},
		{"?q=scraped+yet", "new"},
		{"?q=a&state=fine", "a"},
		{"?q=absent", ""},
		{"?unknown=1", "c new a b"},
		{"?sort=nonsense", `400 sort="nonsense" means nothing; it is one of state, name, age, duration, size, series`},
		{"?state=%3Cb%3E", `400 state="<b>" means nothing; it is one of failing, unscraped, fine`},
	} {
		r := a.get("/" + tt.query)
		var names []string
		for _, m := range regexp.MustCompile(`<th scope="row"><a href="/([^"]*)">`).FindAllStringSubmatch(r.body, -1) {
			names = append(names, m[1])
		}
		got := strings.Join(names, " ")
		if r.StatusCode != 200 {
			got = fmt.Sprint(r.StatusCode, " ", strings.TrimSpace(r.body))
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.query, got, tt.want)
		}
	}
}

// The targets file has targets elsewhere, switches some off, and hides others.
func TestPageOfTargetsFile(t *testing.T) {
	a := start(t)
	elsewhere := filepath.Join(t.TempDir(), "app.metrics")
	a.speaks(elsewhere, "x 1\n")
	if err := os.Chmod(elsewhere, 0o604); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"off", "secret"} {
		a.service(name, fine)
	}
	a.use(map[string]targetsfile.Target{
		"app": {Socket: elsewhere, Raw: true}, "off": {Disabled: true}, "secret": {Allow: &targetsfile.Allow{}},
	})
	a.get("/app")
	if got, want := a.numbers("app"), "4 B 1 "; !strings.Contains(got, want) || !strings.Contains(got, " 0604") {
		t.Errorf("elsewhere: %q, want %q in it, and its mode", got, want)
	}
	page := a.get("/").body
	if !strings.Contains(page, "1 socket in") || !strings.Contains(page, "<code>off.sock</code><td>it is switched off in the targets file") {
		t.Errorf("one is there and one switched off, says the file:\n%s", page)
	}
	if strings.Contains(page, "secret") || strings.Contains(page, "broken") {
		t.Errorf("what is not for this scraper is on the page, or a fault that is none:\n%s", page)
	}
	for _, tt := range []struct {
		err  error
		says string
	}{
		{errors.New("oh no"), "The targets file is broken, and"},
		{fmt.Errorf("oh no: %w", &targetsfile.Fault{Line: 3}), "The targets file is broken in line 3, and"},
	} {
		a.Retarget(targetsfile.File{}, tt.err)
		if page := a.get("/").body; !strings.Contains(page, tt.says) || strings.Contains(page, "oh no") {
			t.Errorf("%q is not on the page, or the file's content is:\n%s", tt.says, page)
		}
	}
}

// What is asked for stands in links and fields, and is no markup there.
func TestViewIsEscaped(t *testing.T) {
	a := start(t)
	a.raw("svc", "HTTP/1.1 302 Found\r\nLocation: \"><b>\r\nContent-Length: 0\r\n\r\n")
	a.get("/svc")
	if got := a.get("/?q=%22%3E%3Cb%3E").body; strings.Contains(got, `"><b>`+"\n") || !strings.Contains(got, `value="&#34;&gt;&lt;b&gt;"`) || !strings.Contains(got, `href="/?desc=1&amp;q=%22%3E%3Cb%3E&amp;sort=size"`) {
		t.Errorf("a query is taken for markup:\n%s", got)
	}
}

// The numbers of all sockets lead to all of them, whatever is looked for.
func TestTalliesAreOfAll(t *testing.T) {
	a := startSample(t)
	page := a.get("/?q=worker").body
	for _, want := range []string{`<a href="/?state=failing"><b>3</b> failing`, `<a href="/#unserved"><b>6</b> not served`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestPageSecurity(t *testing.T) {
	a := start(t)
	got := a.get("/")
	for field, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := got.Header.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	policy := got.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none';", "img-src data:;", "style-src 'sha256-", "script-src 'sha256-", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("the policy is lax: %s", policy)
	}
}

// The cells that no template escapes hold no markup of others, whatever is made
// of what is a valid name.
func TestLink(t *testing.T) {
	if got, want := link(`"><b>'&`), template.HTML(`<th scope="row"><a href="/&#34;&gt;&lt;b&gt;&#39;&amp;">&#34;&gt;&lt;b&gt;&#39;&amp;</a>`); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestPageIsBounded(t *testing.T) {
	a := start(t)
	for i := range limits.MaxPageRows + 3 {
		makeSocket(t, filepath.Join(a.dir, fmt.Sprintf("s%05d.sock", i)))
	}
	got := a.get("/?sort=name").body
	if n := strings.Count(got, `<th scope="row">`); n != limits.MaxPageRows || !strings.Contains(got, "The first 10000 of those that match; 3 more are not shown.") {
		t.Errorf("%d rows, want %d and a word about the rest", n, limits.MaxPageRows)
	}
	if got := a.get("/?q=s10002").body; !strings.Contains(got, `<a href="/s10002">`) {
		t.Error("a socket beyond the bound is not found by its name")
	}
	for range limits.MaxPages {
		a.pages <- struct{}{}
	}
	if got := a.get("/"); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
		t.Errorf("one page too many: %d, want 503", got.StatusCode)
	}
	<-a.pages
	if got := a.get("/?q=s00001"); got.StatusCode != 200 {
		t.Errorf("afterwards: %d", got.StatusCode)
	}
}

// makeSocket makes a socket on which nobody listens, for less than a listener.
func makeSocket(t testing.TB, path string) {
	t.Helper()
	if err := unix.Mknod(path, unix.S_IFSOCK|0o660, 0); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkIndex is the page of as many sockets as it shows, each scraped, a
// tenth of them failing.
//
//	go test -run '^$' -bench Index -benchmem ./internal/web
func BenchmarkIndex(b *testing.B) {
	for _, bb := range []struct {
		name, query string
		failing     int // of ten
		unserved    bool
	}{
		{"few fail", "", 1, false},
		{"few fail, sorted", "?state=failing&sort=size&desc=1", 1, false},
		{"few fail, looked for", "?q=worker@77", 1, false},
		{"all fail", "", 10, false},
		{"all fail, as many not served", "", 10, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := New(Config{Folder: socketdir.New(b.TempDir()), Log: slog.New(slog.DiscardHandler)})
			fillPage(b, s, bb.failing, bb.unserved)
			r, err := http.NewRequest("GET", "http://h/"+bb.query, nil)
			if err != nil {
				b.Fatal(err)
			}
			w := &sink{header: make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				s.ServeHTTP(w, r)
			}
			if w.status != http.StatusOK {
				b.Fatalf("status %d", w.status)
			}
			b.ReportMetric(float64(w.bytes)/float64(b.N), "B/page")
		})
	}
}

// fillPage gives s as many sockets as its page has at most, with as many of ten
// failing, and if unserved, as many links that are not served.
func fillPage(b *testing.B, s *Server, failing int, unserved bool) {
	b.Helper()
	for i := range limits.MaxPageRows {
		name := fmt.Sprintf("worker@%d", i)
		path := filepath.Join(s.folder.String(), name+socketdir.Suffix)
		makeSocket(b, path)
		if os.Geteuid() == 0 {
			os.Chown(path, i%100, i%100)
		}
		if unserved {
			if err := os.Symlink(path, filepath.Join(s.folder.String(), name+"-link"+socketdir.Suffix)); err != nil {
				b.Fatal(err)
			}
		}
		o := outcome{at: time.Now(), took: time.Millisecond, bytes: 30_000, result: resultOK, counted: true, series: 600}
		if i%10 < failing {
			o.result, o.err = "refused", fmt.Errorf("%w: nobody is listening on %s any more; start its service, or remove what it left behind", socketdir.ErrRefused, path)
		}
		s.targets.record(name, true, o)
	}
}
