package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

func TestDiscovery(t *testing.T) {
	a := start(t)
	if got := a.get("/-/sd"); got.body != "[]\n" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("an empty folder: %q of type %q, want []", got.body, got.Header.Get("Content-Type"))
	}
	a.service("b", fine)
	a.service("a@1", fine)
	a.service("metrics", fine)
	a.stale("stale")
	os.Symlink("b.sock", filepath.Join(a.dir, "link.sock"))
	os.WriteFile(filepath.Join(a.dir, "file.sock"), nil, 0o600)

	got, err := a.send("GET /-/sd HTTP/1.1\r\nHost: web-1.example:31337\r\nConnection: close\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	var groups []targetGroup
	if err := json.Unmarshal([]byte(body), &groups); err != nil {
		t.Fatalf("%v in %q", err, got)
	}
	var want []targetGroup
	for _, name := range []string{"a@1", "b", "stale"} {
		want = append(want, targetGroup{[]string{"web-1.example:31337"}, map[string]string{"__metrics_path__": "/" + name, "job": name}})
	}
	if fmt.Sprint(groups) != fmt.Sprint(want) {
		t.Errorf("discovered %v, want %v", groups, want)
	}

	// An empty list would make Prometheus drop the targets, and their alerts.
	mustRemove(t, a.dir)
	if got := a.get("/-/sd"); got.StatusCode != 503 || !strings.Contains(got.body, "no such folder") {
		t.Errorf("without the folder: %d %q, want 503", got.StatusCode, got.body)
	}
}

func TestHealth(t *testing.T) {
	a := start(t)
	mustRemove(t, a.dir)
	for _, path := range []string{"/-/healthy", "/-/ready"} {
		if got := a.get(path); got.StatusCode != 200 {
			t.Errorf("%s: %d, want 200", path, got.StatusCode)
		}
	}
}

func TestOwnMetrics(t *testing.T) {
	a := start(t)
	a.service("fine", fine)
	a.service("metrics", fine)
	a.get("/fine")
	for i := range 50 {
		a.get(fmt.Sprint("/absent", i))
	}
	for series, want := range map[string]string{
		"aegis_sockets": "1", "aegis_sockdir_up": "1",
		`aegis_scrapes_total{result="ok",target="fine"}`: "1",
		"aegis_scrape_duration_seconds_count":            "1",
		"aegis_relayed_bytes_total":                      "4",
		"aegis_scrapes_in_flight":                        "0",
		"aegis_service_connections":                      "1",
		"aegis_unknown_requests_total":                   "50",
	} {
		if got := a.metric(series); got != want {
			t.Errorf("%s is %q, want %q", series, got, want)
		}
	}
	body := a.get("/metrics").body
	for _, want := range []string{`revision="abc",version="1.2.3"} 1`, "process_open_fds", "go_goroutines"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, `"absent`) {
		t.Error("a name that never was a socket has a series")
	}
	mustRemove(t, a.dir)
	if got := a.metric("aegis_sockdir_up"); got != "0" {
		t.Errorf("aegis_sockdir_up without the folder: %q, want 0", got)
	}
}

func TestReservedName(t *testing.T) {
	for path := range start(t).own {
		if name := path[1:]; socketdir.ValidName(name) != (name == targetsfile.ReservedName) {
			t.Errorf("%s hides the name %q, reserved is %q", path, name, targetsfile.ReservedName)
		}
	}
}

func TestGoneTargetsAreForgotten(t *testing.T) {
	a := start(t)
	l := a.service("svc", fine)
	a.get("/svc")
	const series = `aegis_scrapes_total{result="ok",target="svc"}`
	synctest.Test(t, func(t *testing.T) {
		a.targets.sweep(context.Background())
		l.Close()
		a.targets.sweep(context.Background())
		time.Sleep(limits.ForgetTimeout - time.Second)
		a.targets.sweep(context.Background())
		if _, ok := a.targets.known("svc"); !ok {
			t.Error("forgotten before its time")
		}
		time.Sleep(time.Second)
		a.targets.sweep(context.Background())
		if _, ok := a.targets.known("svc"); ok {
			t.Error("still remembered")
		}
	})
	if got := a.metric(series); got != "" {
		t.Errorf("%s is still there: %q", series, got)
	}
}

// A socket that is back is not called gone until somebody scrapes it.
func TestTargetComesBack(t *testing.T) {
	a := start(t)
	l := a.service("svc", fine)
	a.get("/svc")
	l.Close()
	a.targets.sweep(t.Context())
	if got := a.get("/").body; strings.Contains(got, "svc") {
		t.Errorf("a socket that is gone is on the page:\n%s", got)
	}
	a.service("svc", fine)
	a.targets.sweep(t.Context())
	if got, want := a.status(t.Context()), "1 socket in "+a.dir+"; 0 fine; 1 not scraped yet"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	a.get("/svc")
	if got, want := a.status(t.Context()), "1 socket in "+a.dir+"; 1 fine"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
}

// A target has failed since it first did, in whatever ways, and nothing is known of
// a socket that was made anew.
func TestWhatIsKnownOfATarget(t *testing.T) {
	a := start(t)
	l := a.service("svc", fine)
	a.get("/svc")
	a.do("HEAD", "/svc", nil)
	if got, _ := a.targets.known("svc"); got.last.bytes != 4 {
		t.Errorf("HEAD has made the size %d, want 4", got.last.bytes)
	}
	begin := time.Now().Add(-time.Hour)
	a.targets.record("svc", true, outcome{at: begin, result: "status", err: scrape.ErrStatus})
	a.targets.record("svc", true, outcome{at: begin.Add(time.Minute), result: "truncated", err: scrape.ErrTruncated})
	if got, _ := a.targets.known("svc"); !got.since.Equal(begin) || got.state.result != "truncated" {
		t.Errorf("%s since %v, want truncated since %v", got.state.result, got.since, begin)
	}
	l.Close()
	a.targets.sweep(t.Context())
	a.service("svc", fine)
	a.targets.sweep(t.Context())
	if got, _ := a.targets.known("svc"); !got.last.at.IsZero() {
		t.Errorf("the last scrape of a new socket was %v", got.last.at)
	}
}

// A target that is replaced by a file fails for that reason, at each scrape and
// each look at the folder.
func TestTargetReplacedByAFile(t *testing.T) {
	a := start(t)
	l := a.service("svc", fine)
	a.get("/svc")
	l.Close()
	os.WriteFile(filepath.Join(a.dir, "svc.sock"), nil, 0o600)
	for range 3 {
		a.get("/svc")
		a.targets.sweep(t.Context())
		if got, _ := a.targets.known("svc"); got.state.result != "not_socket" {
			t.Errorf("state %q, want not_socket", got.state.result)
		}
	}
}

func TestStatusNamesFailures(t *testing.T) {
	a := start(t)
	a.service("fine", fine)
	a.get("/fine")
	for i := range limits.MaxStatusTargets + 2 {
		name := fmt.Sprint("stale", i)
		a.stale(name)
		a.get("/" + name)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "plain.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("6 sockets in %s; 1 fine; stale0: connection refused; stale1: connection refused; stale2: connection refused; 2 more fail; 1 not served, GET / says why", a.dir)
	if got := a.status(t.Context()); got != want {
		t.Errorf("status %q, want %q", got, want)
	}
}

// A jam is the service's state; scrapers who are too many are not.
func TestFullBacklogIsAState(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	a.get("/svc")
	at := time.Now()
	a.targets.record("svc", true, outcome{at: at, result: resultBusy, err: scrape.ErrTooMany})
	if got, _ := a.targets.known("svc"); got.state.result != resultOK {
		t.Errorf("too many scrapers make the state %q", got.state.result)
	}
	a.targets.record("svc", true, outcome{at: at, result: resultBusy, err: socketdir.ErrBusy})
	if got, _ := a.targets.known("svc"); got.state.result != resultBusy {
		t.Errorf("a full backlog makes the state %q, want %q", got.state.result, resultBusy)
	}
}

// What the folder shows as a socket has a series, also where looking at it is
// denied.
func TestDeniedLookupIsCounted(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	a.targets.sweep(t.Context())
	denied := outcome{at: time.Now(), result: "denied", err: socketdir.ErrDenied}
	if !a.targets.record("svc", false, denied) || a.targets.record("absent", false, denied) {
		t.Error("a listed socket is to be counted, and nothing else")
	}
}

func TestTargetsAreBounded(t *testing.T) {
	a := start(t)
	for i := range limits.MaxTargets + 10 {
		a.targets.record(fmt.Sprint("t", i), true, outcome{at: time.Now(), result: resultOK})
	}
	if n := len(a.targets.byName); n != limits.MaxTargets {
		t.Errorf("%d targets remembered, want %d", n, limits.MaxTargets)
	}
	a.service("late", fine)
	a.get("/late")
	if got := a.metric(`aegis_scrapes_total{result="ok",target="(other)"}`); got != "11" {
		t.Errorf("%s scrapes of others, want 11", got)
	}
}

func TestStateIsLoggedWhenItChanges(t *testing.T) {
	a := start(t)
	l := a.service("svc", fine)
	a.get("/svc")
	a.get("/svc")
	l.SetUnlinkOnClose(false)
	l.Close()
	at := time.Now().Add(limits.StateLogInterval)
	refused := outcome{at: at, result: "refused", err: socketdir.ErrRefused}
	a.targets.record("svc", true, refused)
	a.targets.record("svc", true, refused)
	// A flap within the interval is not logged, nor is what tells of scrapers.
	a.targets.record("svc", true, outcome{at: at, result: resultOK})
	a.targets.record("svc", true, refused)
	a.targets.record("svc", true, outcome{at: at.Add(time.Minute), result: resultBusy, err: scrape.ErrTooMany})
	a.targets.record("svc", false, outcome{at: at.Add(time.Minute), result: resultNotFound, err: socketdir.ErrNotFound})

	var got []string
	for line := range strings.Lines(a.log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
		got = append(got, line)
	}
	want := []string{
		`level=INFO msg="target is fine" target=svc`,
		`level=WARN msg="target is failing" target=svc reason=refused error="connection refused"`,
		`level=INFO msg="target is gone" target=svc`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestParsePrefixes(t *testing.T) {
	for _, tt := range []struct{ list, want, err string }{
		{list: "10.0.0.0/8", want: "[10.0.0.0/8]"},
		{list: "10.1.2.3, fda2::/16,::1", want: "[10.1.2.3/32 fda2::/16 ::1/128]"},
		{list: "::ffff:10.1.2.3", want: "[10.1.2.3/32]"},
		{list: "::ffff:10.0.0.0/104", want: "[10.0.0.0/8]"},
		{list: "", err: `"" is neither`},
		{list: "10.0.0.0/8,", err: `"" is neither`},
		{list: "prometheus.example", err: `"prometheus.example" is neither`},
		{list: "10.0.0.1/8", err: "write 10.0.0.0/8"},
		{list: "10.0.0.0/33", err: "neither"},
		{list: "fe80::1%wg0", err: "neither"},
	} {
		got, err := ParsePrefixes(tt.list)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: %v, %v; want an error with %q", tt.list, got, err, tt.err)
			}
		} else if fmt.Sprint(got) != tt.want || err != nil {
			t.Errorf("%q: %v, %v; want %s", tt.list, got, err, tt.want)
		}
	}
}

func TestAllow(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	// On [::], IPv4 clients show as IPv4-mapped addresses.
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		missing(t, fmt.Sprintf("no IPv6 here: %v", err))
	}
	prefixes, err := ParsePrefixes("127.0.0.2,127.1.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	srv := a.HTTPServer()
	go srv.Serve(a.Guard(l, prefixes))
	defer srv.Close()
	port := netip.MustParseAddrPort(l.Addr().String()).Port()

	for _, tt := range []struct {
		from string
		want bool
	}{{"127.0.0.2", true}, {"127.1.2.3", true}, {"127.0.0.3", false}, {"127.0.0.1", false}} {
		d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(tt.from)}}
		client := http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}}
		resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/svc", port))
		if err == nil {
			resp.Body.Close()
		}
		if got := err == nil; got != tt.want {
			t.Errorf("from %s: let in %v (%v), want %v", tt.from, got, err, tt.want)
		}
	}
	eventually(t, "two connections are counted as refused", func() bool {
		return a.metric("aegis_refused_connections_total") == "2"
	})
	eventually(t, "the first is logged", func() bool {
		return strings.Contains(a.log.String(), "connection refused")
	})
	if n := strings.Count(a.log.String(), "connection refused"); n != 1 {
		t.Errorf("logged %d times within a minute, want once:\n%s", n, a.log.String())
	}
}

// A connection beyond limits.MaxConns is closed at once, wherever it comes in.
func TestClientsAreBounded(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "aegis.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := a.HTTPServer()
	go srv.Serve(a.Plain(a.Guard(l, nil)))
	defer srv.Close()
	for network, addr := range map[string]string{"tcp": a.addr, "unix": l.Addr().String()} {
		for _, tt := range []struct {
			others int64
			want   string // begins the answer
		}{{limits.MaxConns, ""}, {limits.MaxConns - 1, "HTTP/1.1 200 OK"}} {
			a.conns.Add(tt.others)
			c, err := net.Dial(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(c, "GET /svc HTTP/1.1\r\nHost: h\r\n\r\n")
			got := make([]byte, len(tt.want)+1)
			n, err := c.Read(got)
			if !strings.HasPrefix(string(got), tt.want) || tt.want == "" && n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("over %s, with %d others: %q, %v, want %q", network, tt.others, got[:n], err, tt.want)
			}
			c.Close()
			a.conns.Add(-tt.others)
			eventually(t, "no connection", func() bool { return a.Connections() == 0 })
		}
	}
}

// What a scraper sends that does not wait for answers stays with it.
func TestUnreadIsBounded(t *testing.T) {
	a := start(t)
	hang := make(chan struct{})
	a.service("hanging", func(w http.ResponseWriter, r *http.Request) { <-hang })
	defer close(hang)
	c := a.dial().(*net.TCPConn)
	c.SetWriteBuffer(4 << 10)
	sent, err := io.WriteString(c, "GET /hanging HTTP/1.1\r\nHost: h\r\n\r\n")
	for err == nil {
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		var n int
		n, err = c.Write(make([]byte, 4<<10))
		sent += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || sent > 4*limits.RecvBufSize {
		t.Errorf("%d bytes were taken, then: %v", sent, err)
	}
}

func TestAllowLeavesUnixListenersAlone(t *testing.T) {
	a := start(t)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "aegis.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := a.Guard(l, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); got != l {
		t.Error("a Unix listener is guarded by address")
	}
}
