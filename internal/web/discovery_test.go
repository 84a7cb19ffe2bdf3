package web

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// discovered returns the labels of each target by its path.
func (a *aegis) discovered() map[string]map[string]string {
	a.t.Helper()
	var groups []targetGroup
	if err := json.Unmarshal([]byte(a.get("/-/sd").body), &groups); err != nil {
		a.t.Fatal(err)
	}
	labels := make(map[string]map[string]string)
	for _, g := range groups {
		labels[g.Labels["__metrics_path__"]] = g.Labels
	}
	return labels
}

func TestDiscovery(t *testing.T) {
	a := start(t)
	if got := a.get("/-/sd"); got.body != "[]\n" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("an empty directory: %q of type %q, want []", got.body, got.Header.Get("Content-Type"))
	}
	for _, name := range []string{"b", "a@1", "metrics"} {
		a.service(name, oneSample)
	}
	a.stale("stale")
	os.Symlink("b.sock", a.socket("link"))
	os.WriteFile(a.socket("file"), nil, 0o600)

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

	// With an empty list, Prometheus would drop the targets and their alerts.
	remove(t, a.dir)
	if got := a.get("/-/sd"); got.StatusCode != 503 || !strings.Contains(got.body, a.dir) {
		t.Errorf("without the directory: %d %q, want 503", got.StatusCode, got.body)
	}
}

// Behind a reverse proxy, targets are where the proxy is. It may or may not remove the prefix of a path.
func TestExternalURL(t *testing.T) {
	a := startBehind(t, &url.URL{Scheme: "https", Host: "host.example.org", Path: "/aegis"})
	a.service("svc", oneSample)
	a.service("aegis", oneSample)
	const want = `[{"targets":["host.example.org"],"labels":{"__metrics_path__":"/aegis/aegis","__scheme__":"https","job":"aegis"}},` +
		`{"targets":["host.example.org"],"labels":{"__metrics_path__":"/aegis/svc","__scheme__":"https","job":"svc"}}]` + "\n"
	for path, want := range map[string]string{
		"/-/sd": want, "/aegis/-/sd": want,
		"/svc": "x 1\n", "/aegis/svc": "x 1\n", "/aegis": "x 1\n", "/aegis/aegis": "x 1\n",
	} {
		if got := a.get(path); got.body != want {
			t.Errorf("%s: %d %q, want %q", path, got.StatusCode, got.body, want)
		}
	}
	for path, want := range map[string]int{"/aegis/": 200, "/": 200, "/aegissvc": 404, "/aegis//svc": 404, "/aegis/aegis/svc": 404, "//svc": 404} {
		if got := a.get(path); got.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, got.StatusCode, want)
		}
	}
	if page := a.get("/aegis/").body; !strings.Contains(page, "on host.example.org") || strings.Contains(page, `="/`) {
		t.Errorf("the page has absolute links or another host:\n%s", page)
	}
}

// HTTP/1.0 needs no Host; then the address is the one that the client connected to.
func TestDiscoveryWithoutHost(t *testing.T) {
	a := start(t)
	a.service("svc", oneSample)
	if got, err := a.send("GET /-/sd HTTP/1.0\r\n\r\n"); !strings.Contains(got, `"targets":["`+a.addr+`"]`) {
		t.Errorf("%q, %v; want the target at %s", got, err, a.addr)
	}
}

func TestDiscoveryOfTheTargetsFile(t *testing.T) {
	a := start(t)
	for _, name := range []string{"billing", "moved", "disabled"} {
		a.service(name, oneSample)
	}
	a.setTargets(map[string]targetsfile.Target{
		"netdata": {
			Socket: filepath.Join(t.TempDir(), "netdata"),
			Params: map[string]string{"format": "prometheus", "collect[]": "a"}, // the second is no label name
		},
		"billing":  {Labels: map[string]string{"team": "money", "job": "bills", "__metrics_path__": "/evil"}},
		"moved":    {Socket: filepath.Join(t.TempDir(), "moved")},
		"absent":   {Socket: filepath.Join(t.TempDir(), "absent")},
		"disabled": {Disabled: true},
		"nowhere":  {Socket: "/run/x.sock", Disabled: true},
	})
	want := map[string]string{
		"/billing": "map[__metrics_path__:/billing job:bills team:money]",
		"/moved":   "map[__metrics_path__:/moved job:moved]",
		"/absent":  "map[__metrics_path__:/absent job:absent]",
		"/netdata": "map[__metrics_path__:/netdata __param_format:prometheus job:netdata]",
	}
	got := a.discovered()
	if len(got) != len(want) {
		t.Errorf("discovered %v", got)
	}
	for path, labels := range want {
		if fmt.Sprint(got[path]) != labels {
			t.Errorf("labels of %s: %v, want %s", path, got[path], labels)
		}
	}
}
