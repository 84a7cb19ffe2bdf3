package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// serve runs a service at dir/file until the end of the test.
func serve(t *testing.T, dir, file string, handler http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

// respond returns a handler that responds with body as text/plain.
func respond(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, body)
	}
}

// abandon leaves a socket at dir/file on which nobody listens.
func abandon(t *testing.T, dir, file string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, file)})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// run runs a check of dir and returns what it prints.
func run(dir string, file targetsfile.File, o Options) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	o.Stdout, o.Stderr = &out, &errOut
	if o.Timeout == 0 {
		o.Timeout = limits.DefaultScrapeTimeout
	}
	err = Run(newSet(dir, file), o)
	return out.String(), errOut.String(), err
}

func newSet(dir string, file targetsfile.File) *target.Set {
	return target.NewSet(socketdir.New(dir), file, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
}

// reportsOf runs a check of dir and returns its reports.
func reportsOf(t *testing.T, dir string, file targetsfile.File, o Options) []report {
	t.Helper()
	o.JSON = true
	out, _, err := run(dir, file, o)
	if err != nil && err != ErrFindings {
		t.Fatal(err)
	}
	var reports []report
	if err := json.Unmarshal([]byte(out), &reports); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return reports
}

// wantLines fails the test unless each of the regular expressions matches a line of output.
func wantLines(t *testing.T, output string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !regexp.MustCompile("(?m)" + line).MatchString(output) {
			t.Errorf("no line matches %s in:\n%s", line, output)
		}
	}
}

func TestTable(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, "fine.sock", respond("x 1\ny 1\n"))
	serve(t, dir, "empty.sock", respond(""))
	serve(t, dir, "repeats.sock", respond("x 1\nx 1\nx 1\n"))
	out, errOut, err := run(dir, targetsfile.File{}, Options{})
	if err != nil || errOut != "" {
		t.Errorf("error %v, stderr %q", err, errOut)
	}
	wantLines(t, out,
		`^NAME +RESULT +TIME +BYTES +SERIES$`,
		`^fine +ok +[0-9.]+.?s +8 +2$`,
		`^empty: its response has no samples: Prometheus reports it as up, with nothing in it$`,
		`^repeats: 2 of its samples repeat a series; Prometheus drops them$`)
	if strings.Contains(out, "fine:") {
		t.Errorf("something is wrong with the target that is fine:\n%s", out)
	}

	abandon(t, dir, "leftover.sock")
	if err := os.WriteFile(filepath.Join(dir, "plain.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err = run(dir, targetsfile.File{}, Options{})
	if err != ErrFindings {
		t.Errorf("error %v, want ErrFindings", err)
	}
	wantLines(t, out, `^leftover +refused `, `^leftover: connection refused: `, `^plain\.sock is not served: `)
	if out, _, err = run(dir, targetsfile.File{}, Options{Names: []string{"fine"}}); err != nil || strings.Contains(out, "leftover") {
		t.Errorf("a check of fine only: %v:\n%s", err, out)
	}
}

func TestJSON(t *testing.T) {
	dir := t.TempDir()
	abandon(t, dir, "leftover.sock")
	abandon(t, dir, "nameless")
	serve(t, dir, "fine.sock", respond("x 1\n"))
	out, errOut, err := run(dir, targetsfile.File{}, Options{JSON: true})
	if err != ErrFindings {
		t.Errorf("error %v, want ErrFindings", err)
	}
	want := `^\[
  \{
    "name": "fine",
    "result": "ok",
    "seconds": [0-9.e-]+,
    "bytes": 4,
    "series": 1
  \},
  \{
    "name": "leftover",
    "result": "refused",
    "error": "connection refused: .*",
    "seconds": [0-9.e-]+,
    "bytes": 0,
    "series": 0
  \}
\]
$`
	if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("printed\n%s, want\n%s", out, want)
	}
	wantLines(t, errOut, `^nameless is not served: .* name does not end in \.sock`)
}

func TestNothingToScrape(t *testing.T) {
	dir := t.TempDir()
	out, _, err := run(dir, targetsfile.File{}, Options{})
	if err != nil || out != "There is no target in "+dir+" yet.\n" {
		t.Errorf("empty directory: %v, %q", err, out)
	}
	out, errOut, err := run(dir, targetsfile.File{}, Options{JSON: true})
	if err != nil || out != "[]\n" || !strings.HasPrefix(errOut, "There is no target in ") {
		t.Errorf("empty directory, JSON: %v, %q, stderr %q", err, out, errOut)
	}
	abandon(t, dir, "nameless")
	out, _, err = run(dir, targetsfile.File{}, Options{})
	if err != nil {
		t.Error(err)
	}
	wantLines(t, out, `^nameless is not served: `, `^There is no target in .* yet\.$`)
	_, _, err = run(dir+"/none", targetsfile.File{}, Options{})
	if !errors.Is(err, socketdir.ErrNoDirectory) || !strings.HasPrefix(err.Error(), "listing the sockets: ") {
		t.Errorf("no directory: %v", err)
	}
}

func TestTargetsFile(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	serve(t, dir, "a.sock", respond("x 1\n"))
	serve(t, dir, "off.sock", respond("x 1\n"))
	serve(t, elsewhere, "b", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats" {
			http.NotFound(w, r)
			return
		}
		respond("x 1\n")(w, r)
	})
	file := targetsfile.File{Targets: map[string]targetsfile.Target{
		"a":    {Path: "/metrics"},
		"b":    {Path: "/stats", Socket: elsewhere + "/b"},
		"off":  {Path: "/metrics", Disabled: true},
		"none": {Path: "/metrics", Disabled: true},
		"typo": {Path: "/metrics"},
	}}
	var results []string
	for _, r := range reportsOf(t, dir, file, Options{}) {
		results = append(results, r.Name+" "+string(r.Result))
	}
	if got, want := strings.Join(results, ", "), "a ok, b ok, typo not_found"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	out, _, _ := run(dir, file, Options{})
	wantLines(t, out, `^off\.sock is not served: .*enabled: false`)
}

func TestDuplicateLabels(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, "a.sock", respond("x 1\n"))
	serve(t, dir, "b.sock", respond("x 1\n"))
	file := targetsfile.File{Targets: map[string]targetsfile.Target{
		"a": {Path: "/metrics", Labels: map[string]string{"job": "b"}},
	}}
	_, errOut, err := run(dir, file, Options{})
	if err != ErrFindings {
		t.Errorf("error %v, want ErrFindings", err)
	}
	wantLines(t, errOut, `^aegis: a and b have the same labels, so Prometheus takes them for one target; `)
	if _, errOut, err = run(dir, file, Options{Names: []string{"a"}}); err != nil || errOut != "" {
		t.Errorf("a check of one target: %v, stderr %q", err, errOut)
	}
}

func TestTimeout(t *testing.T) {
	dir := t.TempDir()
	done := make(chan struct{})
	defer close(done)
	serve(t, dir, "hangs.sock", func(http.ResponseWriter, *http.Request) { <-done })
	got := reportsOf(t, dir, targetsfile.File{}, Options{Timeout: 100 * time.Millisecond})
	if got[0].Result != target.Timeout || !strings.Contains(got[0].Error, "90ms") || !strings.Contains(got[0].Error, "scrape_timeout") {
		t.Errorf("%+v", got)
	}
	file := targetsfile.File{Targets: map[string]targetsfile.Target{"hangs": {Path: "/metrics", Timeout: 100 * time.Millisecond}}}
	got = reportsOf(t, dir, file, Options{})
	if got[0].Result != target.Timeout || !strings.Contains(got[0].Error, "100ms") {
		t.Errorf("with a timeout in the targets file: %+v", got)
	}
}

// Slow services delay a check once, not once each.
func TestScrapesAtOnce(t *testing.T) {
	dir := t.TempDir()
	var requested sync.WaitGroup
	requested.Add(limits.MaxScrapesPerTarget)
	for i := range limits.MaxScrapesPerTarget {
		serve(t, dir, fmt.Sprintf("svc%02d.sock", i), func(w http.ResponseWriter, r *http.Request) {
			requested.Done()
			requested.Wait()
			respond("x 1\n")(w, r)
		})
	}
	reports := reportsOf(t, dir, targetsfile.File{}, Options{})
	if len(reports) != limits.MaxScrapesPerTarget {
		t.Errorf("%d reports, want %d", len(reports), limits.MaxScrapesPerTarget)
	}
	for i, got := range reports {
		if want := fmt.Sprintf("svc%02d", i); got.Name != want || got.Result != target.OK {
			t.Errorf("%+v, want %s ok", got, want)
		}
	}
}
