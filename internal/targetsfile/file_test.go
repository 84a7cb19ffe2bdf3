package targetsfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "targets.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	for _, text := range []string{"targets:\n", "targets: {}\n", "targets:\n  # x: {}\n"} {
		if f, err := Read(writeFile(t, text)); err != nil || len(f.Targets) != 0 {
			t.Errorf("%q: %v, %v; want a file without targets", text, f, err)
		}
	}
	f, err := Read(writeFile(t, `targets:
  billing:
    path: /internal/metrics
    labels: {team: money, job: billing-eu}
    timeout: 2500ms
    allow:
      addresses: [10.100.0.0/24, "::ffff:10.0.0.1"]
      certificates: [prometheus.example.com]
  ostree: {socket: /run/rpm-ostreed.promsock, protocol: raw, content_type: application/openmetrics-text; version=1.0.0}
  netdata: {path: /api, params: {format: [prometheus], 'collect[]': 1, none: ''}, host: "app.example.org:80"}
  incus: {socket: /run/io.incus, protocol: varlink}
  secret: {enabled: false}
  plain:
  null: {timeout: 1s}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"billing": "{ http /internal/metrics map[]   map[job:billing-eu team:money] 2.5s false &{[10.100.0.0/24 10.0.0.1/32] [prometheus.example.com]}}",
		"ostree":  "{/run/rpm-ostreed.promsock raw /metrics map[]  application/openmetrics-text; version=1.0.0 map[] 0s false <nil>}",
		"netdata": "{ http /api map[collect[]:1 format:prometheus none:] app.example.org:80  map[] 0s false <nil>}",
		"incus":   "{/run/io.incus varlink /metrics map[]   map[] 0s false <nil>}",
		"secret":  "{ http /metrics map[]   map[] 0s true <nil>}",
		"plain":   "{ http /metrics map[]   map[] 0s false <nil>}",
		"null":    "{ http /metrics map[]   map[] 1s false <nil>}",
		"unnamed": "{ http /metrics map[]   map[] 0s false <nil>}",
	} {
		target := f.Target(name)
		got := fmt.Sprintf("%v", target)
		if target.Allow != nil {
			got = strings.Replace(got, fmt.Sprintf("%p", target.Allow), fmt.Sprintf("%v", target.Allow), 1)
		}
		if got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
}

// Each scalar is text for a label, whatever YAML would make of it.
func TestLabelsAreText(t *testing.T) {
	f, err := Read(writeFile(t, "targets:\n  x: {labels: {a: 010, b: true, c: 1e3, d: 2026-01-01, e: ''}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := "map[a:010 b:true c:1e3 d:2026-01-01 e:]"
	if got := fmt.Sprint(f.Target("x").Labels); got != want {
		t.Errorf("labels: %s, want %s", got, want)
	}
}

func TestReadMissingFile(t *testing.T) {
	_, err := Read("/nonexistent/targets.yml")
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file: %v", err)
	}
}

// A reason is public, because metrics show it, so it contains no text of the file.
func TestFaultReasons(t *testing.T) {
	for path, want := range map[string]Fault{
		writeFile(t, "targets: ["):                  {Reason: Syntax, Line: 1},
		writeFile(t, "targets:\n  x: {pfad: /m}\n"): {Reason: UnknownKey, Line: 2},
		writeFile(t, "targets:\n  x: {path: m}\n"):  {Reason: WrongValue, Line: 2},
		writeFile(t, "targets: 1\n"):                {Reason: WrongValue, Line: 1},
		"/nonexistent/targets.yml":                  {Reason: Unreadable},
	} {
		_, err := Read(path)
		got := (*Fault)(nil)
		if !errors.As(err, &got) || got.Reason != want.Reason || got.Line != want.Line {
			t.Errorf("%v: %+v, want %+v", err, got, want)
		}
	}
}
