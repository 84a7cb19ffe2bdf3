package web

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// speaks serves the socket at path with what writes text to whoever connects.
func (a *aegis) speaks(path, text string) {
	a.t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, text)
			c.Close()
		}
	}()
}

// use makes what f says the targets file.
func (a *aegis) use(targets map[string]targetsfile.Target) {
	for name, t := range targets {
		if t.Path == "" {
			t.Path = targetsfile.Default.Path
			targets[name] = t
		}
	}
	a.Retarget(targetsfile.File{Targets: targets}, nil)
}

func TestTargetsFile(t *testing.T) {
	a := start(t)
	elsewhere := t.TempDir()
	a.service("billing", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "path{p=%q} 1\n", r.URL.RequestURI())
	})
	a.service("slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	a.service("plain", fine)
	a.service("secret", fine)
	a.service("moved", func(w http.ResponseWriter, r *http.Request) { t.Error("the socket in the folder was asked") })
	a.speaks(filepath.Join(elsewhere, "moved.promsock"), "moved 1\n")
	a.speaks(filepath.Join(elsewhere, "large.promsock"), strings.Repeat("x 1\n", limits.MaxBufferedBody/4+1000))
	a.speaks(filepath.Join(elsewhere, "silent.promsock"), "")
	a.speaks(filepath.Join(elsewhere, "page.promsock"), "<html>")
	a.speaks(filepath.Join(elsewhere, "http.promsock"), "HTTP/1.1 400 Bad Request\r\n\r\nno request\n")
	os.Symlink("moved.promsock", filepath.Join(elsewhere, "link.promsock"))
	outside := func(name string) targetsfile.Target {
		return targetsfile.Target{Socket: filepath.Join(elsewhere, name+".promsock"), Raw: true}
	}
	a.use(map[string]targetsfile.Target{
		"billing": {Path: "/internal/metrics", Labels: map[string]string{"team": "money", "job": "bills", "__metrics_path__": "/evil"}},
		"slow":    {Timeout: 50 * time.Millisecond},
		"secret":  {Disabled: true},
		"moved":   outside("moved"),
		"large":   outside("large"),
		"silent":  outside("silent"),
		"page":    outside("page"),
		"http":    outside("http"),
		"link":    outside("link"),
		"absent":  outside("absent"),
	})
	for _, tt := range []struct {
		path   string
		status int
		body   string
	}{
		{"/billing?a=b", 200, "path{p=\"/internal/metrics?a=b\"} 1\n"},
		{"/plain", 200, "x 1\n"},
		{"/moved", 200, "moved 1\n"},
		{"/large", 200, strings.Repeat("x 1\n", limits.MaxBufferedBody/4+1000)},
		{"/slow", 504, "after 50ms nothing had come; if it is slow and does not hang, give it longer: its timeout in the targets file"},
		{"/http", 502, "it speaks HTTP, so protocol: raw in the targets file is wrong"},
		{"/secret", 404, "switched off in the targets file"},
		{"/silent", 502, "without answering"},
		{"/page", 502, "looks like HTML or XML; it has another socket, perhaps"},
		{"/link", 502, "links are not followed"},
		{"/absent", 404, "there is no " + elsewhere + "/absent.promsock"},
	} {
		got := a.get(tt.path)
		if ok := got.body == tt.body || tt.status != 200 && strings.Contains(got.body, tt.body); got.StatusCode != tt.status || !ok || got.err != nil {
			t.Errorf("%s: %d %.200q, %v; want %d %.200q", tt.path, got.StatusCode, got.body, got.err, tt.status, tt.body)
		}
	}

	// What the operator names is not gone but fails, at each look at the folder.
	for range 2 {
		a.targets.sweep(t.Context())
		a.get("/absent")
		if got, _ := a.targets.known("absent"); got.state.result != resultNotFound || !got.goneSince.IsZero() {
			t.Errorf("a target whose socket elsewhere is not there is %q, gone since %v", got.state.result, got.goneSince)
		}
	}
	a.targets.sweep(t.Context())
	if got, _ := a.targets.known("absent"); got.state.result != resultNotFound {
		t.Errorf("after a look at the folder it is %q", got.state.result)
	}

	if log := a.log.String(); !strings.Contains(log, `level=WARN msg="target is failing" target=absent reason=not_found error="no such socket: there is no `) || strings.Contains(log, "target is gone") {
		t.Errorf("log:\n%s", log)
	}

	labels := discovered(t, a)
	if got, want := fmt.Sprint(labels["/billing"]), "map[__metrics_path__:/billing job:bills team:money]"; got != want {
		t.Errorf("labels of billing %s, want %s", got, want)
	}
	if len(labels["/moved"]) != 2 || labels["/secret"] != nil {
		t.Errorf("discovered %v; want moved, and not secret", labels)
	}
	if got := a.metric("aegis_sockets"); got != "10" {
		t.Errorf("%s sockets, want 10: billing, slow, plain and seven elsewhere, but not the one switched off", got)
	}
}

// discovered returns the labels of each target by its path.
func discovered(t *testing.T, a *aegis) map[string]map[string]string {
	t.Helper()
	var groups []targetGroup
	if err := json.Unmarshal([]byte(a.get("/-/sd").body), &groups); err != nil {
		t.Fatal(err)
	}
	labels := make(map[string]map[string]string)
	for _, g := range groups {
		labels[g.Labels["__metrics_path__"]] = g.Labels
	}
	return labels
}

func TestAllowOfATarget(t *testing.T) {
	a := start(t)
	for _, name := range []string{"all", "mine", "theirs", "nobodys"} {
		a.service(name, fine)
	}
	a.get("/theirs") // It is known before it is forbidden.
	a.use(map[string]targetsfile.Target{
		"mine":    {Allow: &targetsfile.Allow{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
		"theirs":  {Allow: &targetsfile.Allow{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}, Certificates: []string{"theirs"}}},
		"nobodys": {Allow: &targetsfile.Allow{}},
	})
	for name, want := range map[string]int{"all": 200, "mine": 200, "theirs": 403, "nobodys": 403} {
		if got := a.get("/" + name); got.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", name, got.StatusCode, got.body, want)
		}
	}
	labels := discovered(t, a)
	page := a.get("/").body
	for name, want := range map[string]bool{"all": true, "mine": true, "theirs": false, "nobodys": false} {
		if got := labels["/"+name] != nil; got != want {
			t.Errorf("%s is discovered: %v, want %v", name, got, want)
		}
		if got := strings.Contains(page, name); got != want {
			t.Errorf("%s is on the page: %v, want %v", name, got, want)
		}
	}
	for name, want := range map[string]string{"mine": "1", "theirs": ""} {
		if got := a.metric(fmt.Sprintf(`aegis_scrapes_total{result="ok",target="%s"}`, name)); got != want {
			t.Errorf("%s: %q scrapes in what its scraper sees of Aegis' own metrics, want %q", name, got, want)
		}
	}
	got, _ := a.targets.known("theirs")
	if got.state.result != resultOK || got.last.result != resultOK {
		t.Errorf("a scraper that was refused has made its target %q, its last scrape %q", got.state.result, got.last.result)
	}
	a.use(nil)
	if got := a.metric(`aegis_scrapes_total{result="forbidden",target="theirs"}`); got != "1" {
		t.Errorf("%q forbidden scrapes counted, want 1", got)
	}
	if got := a.metric("aegis_scrape_duration_seconds_count"); got != "3" {
		t.Errorf("%s durations, want those of the 3 that were not refused", got)
	}
}

// A socket in the folder that the targets file has taken the name of is shown as
// not served.
func TestShadowedSockets(t *testing.T) {
	a := start(t)
	for _, name := range []string{"elsewhere", "off"} {
		a.service(name, fine)
	}
	a.use(map[string]targetsfile.Target{
		"elsewhere": {Socket: filepath.Join(t.TempDir(), "x.sock"), Path: "/metrics"},
		"off":       {Socket: "/run/x.sock", Path: "/metrics", Disabled: true},
	})
	page := a.get("/").body
	for _, want := range []string{"the targets file has the socket of elsewhere elsewhere, at ", "it is switched off in the targets file"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if labels := discovered(t, a); labels["/elsewhere"] == nil || labels["/off"] != nil {
		t.Errorf("discovered: %v, want elsewhere alone", labels)
	}
}

func TestPermit(t *testing.T) {
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "prometheus"}, DNSNames: []string{"prom.example"}}
	verified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	unverified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	allow := func(certificates ...string) *targetsfile.Allow {
		return &targetsfile.Allow{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}, Certificates: certificates}
	}
	for _, tt := range []struct {
		name  string
		allow *targetsfile.Allow
		from  string
		tls   *tls.ConnectionState
		want  bool
	}{
		{"nothing said", nil, "192.0.2.1:5", nil, true},
		{"its address", allow(), "10.1.2.3:5", nil, true},
		{"its address, mapped", allow(), "[::ffff:10.1.2.3]:5", nil, true},
		{"its address, with a zone", allow(), "[fe80::1%eth0]:5", nil, true},
		{"another address", allow("prometheus"), "192.0.2.1:5", nil, false},
		{"no address", allow(), "@", nil, false},
		{"its common name", allow("prometheus"), "192.0.2.1:5", verified, true},
		{"its DNS name", allow("prom.example"), "@", verified, true},
		{"another's name", allow("grafana"), "192.0.2.1:5", verified, false},
		{"a name that nobody verified", allow("prometheus"), "192.0.2.1:5", unverified, false},
		{"a certificate where none is named", allow(), "192.0.2.1:5", verified, false},
	} {
		err := permit(targetsfile.Target{Allow: tt.allow}, &http.Request{RemoteAddr: tt.from, TLS: tt.tls})
		if got := err == nil; got != tt.want || err != nil && !errors.Is(err, errForbidden) {
			t.Errorf("%s: %v, want let in %v", tt.name, err, tt.want)
		}
	}
}

// A targets file that cannot be read leaves the one before in use, and that is
// seen wherever people look.
func TestBrokenTargetsFile(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	a.use(map[string]targetsfile.Target{"svc": {Disabled: true}})
	a.Retarget(targetsfile.File{}, errors.New("line 3: oh no"))
	if got := a.get("/svc"); got.StatusCode != 404 {
		t.Errorf("with a broken file: %d, want the 404 of the one before", got.StatusCode)
	}
	if got := a.status(t.Context()); !strings.Contains(got, "the targets file is broken and the one before stays in use: line 3: oh no") {
		t.Errorf("status %q", got)
	}
	if got := a.metric("aegis_targets_file_up"); got != "0" {
		t.Errorf("aegis_targets_file_up %q, want 0", got)
	}
	a.use(nil)
	if got := a.get("/svc"); got.StatusCode != 200 || a.metric("aegis_targets_file_up") != "1" {
		t.Errorf("with a file again: %d, aegis_targets_file_up %q; want 200, 1", got.StatusCode, a.metric("aegis_targets_file_up"))
	}
}
