package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
	"tulpa.dev/cadey/aegis/internal/web"
)

// An empty answer is an answer, but hardly what is meant.
func TestReportOfNoSamples(t *testing.T) {
	var out bytes.Buffer
	if err := report(&out, "table", []checked{{Name: "full", Result: "ok", Series: 1, Repeated: 2}, {Name: "empty", Result: "ok"}}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "\nempty: there is no sample in its answer") || !strings.Contains(got, "\nfull: 2 of its samples are of a series that has one already") || strings.Count(got, "full:") > 1 {
		t.Errorf("report:\n%s", got)
	}
}

// Where the service has other permissions than a check, that says how to check with
// those, and advises to nothing that could take them away.
func TestCheckAsAnother(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-sockdir", "/srv/my run", "a"}
	for _, daemon := range []string{me.Username, "nobody-there"} {
		if got := runAsService(daemon, args); got != "" {
			t.Errorf("where the service is %s: %q", daemon, got)
		}
	}
	other, err := user.LookupId("2") // On Debian, bin.
	if err != nil || me.Uid == "2" {
		missing(t, fmt.Sprintf("no user to be taken for the service's: %v", err))
	}
	command := runAsService(other.Username, args)
	if want := "runuser -u " + other.Username + " -- aegis check -sockdir '/srv/my run' a"; command != want {
		t.Errorf("%q, want %q", command, want)
	}
	denied := fmt.Errorf("looking: %w", &socketdir.DeniedError{Found: "x.sock is another's", Needs: "that needs a lot; ", Remedy: "chgrp me x.sock"})
	if got := deniedHere(denied, ""); got != denied {
		t.Errorf("as the service: %v", got)
	}
	got := deniedHere(denied, command)
	if !errors.Is(got, socketdir.ErrDenied) || strings.Contains(got.Error(), "chgrp") || !strings.Contains(got.Error(), "x.sock is another's and this check runs as user "+me.Username) || !strings.HasSuffix(got.Error(), command) {
		t.Errorf("as another: %v", got)
	}
}

// A service can fail in what Prometheus asks for alone.
func TestCheckAsksAsPrometheus(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"OpenMetrics": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0")
			return strings.Contains(r.Header.Get("Accept"), "application/openmetrics-text;version=1.0.0")
		},
		"gzip": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Encoding", "gzip")
			return r.Header.Get("Accept-Encoding") == "gzip"
		},
	} {
		dir := t.TempDir()
		l, err := net.Listen("unix", filepath.Join(dir, "svc.sock"))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !answer(w, r) {
				t.Errorf("%s is not asked for: %v", name, r.Header)
			}
			io.WriteString(w, "x 1\n")
		})}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
		c := checker{client: new(scrape.Client), parsing: new(sync.Mutex), catalog: web.NewCatalog(socketdir.New(dir), targetsfile.File{}), timeout: limits.DefaultScrapeTimeout}
		if got := c.one("svc"); got.Result != "not_metrics" {
			t.Errorf("%s, broken: %+v", name, got)
		}
	}
}

// What services send that do not negotiate.
func TestCheckOfFormats(t *testing.T) {
	const (
		text = "text/plain; version=0.0.4"
		open = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	)
	const protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	bomb := strings.Repeat("x 1\n", limits.MaxCheckBody/4+1)
	for name, tt := range map[string]struct {
		contentType, encoding, body string
		result, says                string
		series, repeated            int
		lint                        string
	}{
		"text":                 {contentType: text, body: "# TYPE x gauge\nx 1\ny 2\n", result: "ok", series: 2, lint: "no help text"},
		"no type":              {body: "x 1\n", result: "ok", series: 1, lint: "no help text"},
		"gzip unasked":         {contentType: text, encoding: "gzip", body: gzipped("x 1\n"), result: "ok", series: 1, lint: "no help text"},
		"openmetrics":          {contentType: open, body: "# TYPE x counter\nx_total 1\nx_created 1\n# EOF\n", result: "ok", series: 2, lint: "promlint reads text only"},
		"openmetrics, cut":     {contentType: open, body: "# TYPE x counter\nx_total 1\n", result: "not_metrics", says: "not an exposition: data does not end with # EOF"},
		"not what it says":     {contentType: text, body: "x one\n", result: "not_metrics", says: `line 1: "one" is no number, in "x one"`},
		"a bad line":           {contentType: text, body: "a 1\n\n# TYPE a foo\n", result: "not_metrics", says: `line 3: invalid metric type "foo", in "# TYPE a foo"`},
		"lines of Windows":     {contentType: text, body: "a 1\r\n", result: "not_metrics", says: `line 1: it ends in CR LF, and lines of metrics end in LF, in "a 1\r"`},
		"openmetrics, bad":     {contentType: open, body: "a 1\nb{c=\"d\"} one\n# EOF\n", result: "not_metrics", says: `line 2: "one" is no number, in "b{c=\"d\"} one"`},
		"openmetrics and more": {contentType: open, body: "a 1\n# EOF\na 2\n", result: "not_metrics", says: "unexpected data after # EOF"},
		"a label twice":        {contentType: text, body: "x{a=\"1\",a=\"2\"} 1\n", result: "not_metrics", says: `the label "a" is there twice in {__name__="x", a="1", a="2"}`},
		"broken gzip":          {contentType: text, encoding: "gzip", body: gzipped("x 1\n")[:20], result: "not_metrics", says: "unexpected EOF"},
		"no gzip":              {contentType: text, encoding: "gzip", body: "x 1\n", result: "not_metrics", says: "unexpected EOF"},
		"series twice":         {contentType: text, body: "x 1\nx 2\nx 3 1700000000\n", result: "ok", series: 1, repeated: 1},
		"no last line end":     {contentType: text, body: "x 1", result: "ok", series: 1, lint: "its last line has no end"},
		"large":                {contentType: text, body: strings.Repeat("x 1\n", limits.MaxLintBody/4+1), result: "ok", series: 1, repeated: limits.MaxLintBody / 4, lint: "not linted: it is larger than 8 MiB"},
		"a terminal's":         {contentType: text, body: "x \x1b[2J\n", result: "not_metrics", says: `\x1b[2J`},
		"all of protobuf":      {contentType: protobuf, body: families(t), result: "ok", series: 1 + 4 + 3 + 3, lint: "promlint reads text only"},
		"a protobuf":           {contentType: protobuf, body: "\x0a\x0a\x01x\x18\x01\x22\x03\x12\x01", result: "not_metrics"},
		"a protobuf that lies": {contentType: protobuf, body: "\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc", result: "not_metrics", says: "size"},
		"brotli":               {contentType: text, encoding: "br", body: "?", result: "not_metrics", says: `"br", and Prometheus knows gzip only`},
		"a bomb":               {contentType: text, encoding: "gzip", body: gzipped(bomb), result: "too_large", says: "only 32 MiB"},
		"too large":            {contentType: text, body: bomb, result: "too_large", says: "only 32 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l, err := net.Listen("unix", filepath.Join(dir, "svc.sock"))
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Type"] = nil
				if tt.contentType != "" {
					w.Header().Set("Content-Type", tt.contentType)
				}
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				w.Write([]byte(tt.body))
			})}
			go server.Serve(l)
			t.Cleanup(func() { server.Close() })
			c := checker{client: new(scrape.Client), parsing: new(sync.Mutex), catalog: web.NewCatalog(socketdir.New(dir), targetsfile.File{}), lint: true, timeout: limits.DefaultScrapeTimeout}
			got := c.one("svc")
			if got.Result != tt.result || !strings.Contains(got.Error, tt.says) || got.Series != tt.series || got.Repeated != tt.repeated || got.Bytes != len(tt.body) {
				t.Errorf("%+v; want %s of %d series, %d bytes, that says %q", got, tt.result, tt.series, len(tt.body), tt.says)
			}
			if strings.ContainsFunc(got.Error, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q is for a terminal", got.Error)
			}
			var lint strings.Builder
			for _, p := range got.Lint {
				lint.WriteString(p.String())
			}
			if !strings.Contains(lint.String(), tt.lint) {
				t.Errorf("lint %q, want %q", lint.String(), tt.lint)
			}
		})
	}
}

// families has a counter, two histograms, of one and of no bucket that is said, and
// a summary of one quantile.
func families(t *testing.T) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	few := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "few", Buckets: []float64{1}})
	none := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "none", Buckets: []float64{math.Inf(1)}})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "summary", Objectives: map[float64]float64{.5: .1}})
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "counter"}), few, none, summary)
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	encoder := expfmt.NewEncoder(&body, expfmt.NewFormat(expfmt.TypeProtoDelim))
	for _, family := range all {
		if err := encoder.Encode(family); err != nil {
			t.Fatal(err)
		}
	}
	return body.String()
}

// Services that are slow are waited for at once, not one after the other.
func TestChecksAtOnce(t *testing.T) {
	dir := t.TempDir()
	var asked sync.WaitGroup
	var names []string
	for i := range limits.MaxScrapesPerTarget {
		asked.Add(1)
		names = append(names, fmt.Sprint("svc", i))
		l, err := net.Listen("unix", filepath.Join(dir, names[i]+socketdir.Suffix))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Done()
			asked.Wait()
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "x 1\n")
		})}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
	}
	c := checker{catalog: web.NewCatalog(socketdir.New(dir), targetsfile.File{}), timeout: limits.DefaultScrapeTimeout}
	for i, got := range c.all(names) {
		if got.Name != names[i] || got.Result != "ok" {
			t.Errorf("%+v, want %s ok", got, names[i])
		}
	}
}

func gzipped(s string) string {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write([]byte(s))
	w.Close()
	return packed.String()
}
