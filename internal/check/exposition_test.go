package check

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/target"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// A service may fail only for what Prometheus requests, so a check requests the same.
func TestRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		options Options
		want    http.Header
	}{
		"as Prometheus": {Options{Version: "1.2.3"}, http.Header{
			"Accept":                              {"application/openmetrics-text;version=1.0.0;"},
			"Accept-Encoding":                     {"gzip"},
			"User-Agent":                          {"aegis-check/1.2.3"},
			"X-Prometheus-Scrape-Timeout-Seconds": {"10"},
		}},
		"lint": {Options{Lint: true}, http.Header{"Accept": {"text/plain;version=0.0.4;q=1,"}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			serve(t, dir, "svc.sock", func(w http.ResponseWriter, r *http.Request) {
				for field := range tt.want {
					if !strings.HasPrefix(r.Header.Get(field), tt.want.Get(field)) {
						t.Errorf("%s: %q, want %q", field, r.Header.Get(field), tt.want.Get(field))
					}
				}
				respond("x 1\n")(w, r)
			})
			reportsOf(t, dir, targetsfile.File{}, tt.options)
		})
	}
}

func TestFormats(t *testing.T) {
	const (
		text         = "text/plain; version=0.0.4"
		openMetrics  = "application/openmetrics-text; version=1.0.0; charset=utf-8"
		openMetrics2 = "application/openmetrics-text; version=2.0.0"
		protobuf     = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	)
	large := strings.Repeat("x 1\n", limits.MaxCheckBody/4+1)
	for name, tt := range map[string]struct {
		contentType, encoding, body string
		result                      target.Result
		error                       string
		samples                     samples
		features                    string
		lint                        string
	}{
		"text":                   {contentType: text, body: "# TYPE x gauge\nx 1\ny 2\n", result: "ok", samples: samples{Series: 2}, lint: "no help text"},
		"no type":                {body: "x 1\n", result: "ok", samples: samples{Series: 1}, lint: "no help text"},
		"malformed type":         {contentType: "text/plain; version", body: "x 1\n", result: "not_metrics", error: `cannot parse Content-Type "text/plain; version"`},
		"gzip":                   {contentType: text, encoding: "gzip", body: gzipped("x 1\n"), result: "ok", samples: samples{Series: 1}, lint: "no help text"},
		"openmetrics":            {contentType: openMetrics, body: "# TYPE x counter\nx_total 1\nx_created 1\n# EOF\n", result: "ok", samples: samples{Series: 2}, lint: "promlint reads only the text format"},
		"openmetrics cut short":  {contentType: openMetrics, body: "# TYPE x counter\nx_total 1\n", result: "not_metrics", error: "data does not end with # EOF"},
		"openmetrics bad line":   {contentType: openMetrics, body: "a 1\nb{c=\"d\"} one\n# EOF\n", result: "not_metrics", error: `line 2: "one" is not a number, in "b{c=\"d\"} one"`},
		"openmetrics and more":   {contentType: openMetrics, body: "a 1\n# EOF\na 2\n", result: "not_metrics", error: "unexpected data after # EOF"},
		"openmetrics 2":          {contentType: openMetrics2, body: "# TYPE a histogram\na {count:1,sum:2,bucket:[5:1,+Inf:1]} st@1\n# EOF\n", result: "ok", features: "openmetrics2", samples: samples{Series: 4}, lint: "promlint reads only the text format"},
		"openmetrics 2, wrong":   {contentType: openMetrics2, body: "a one\n# EOF\n", result: "not_metrics", error: "line 1:", features: "openmetrics2"},
		"zstd":                   {contentType: text, encoding: "zstd", body: zstandard("x 1\n"), result: "ok", features: "zstd-scrape", samples: samples{Series: 1}, lint: "no help text"},
		"openmetrics 2 in zstd":  {contentType: openMetrics2, encoding: "ZSTD", body: zstandard("a 1\n# EOF\n"), result: "ok", features: "openmetrics2,zstd-scrape", samples: samples{Series: 1}, lint: "promlint reads only the text format"},
		"not zstd":               {contentType: text, encoding: "zstd", body: "x 1\n", result: "not_metrics", error: "decompressing it: ", features: "zstd-scrape"},
		"zstd bomb":              {contentType: text, encoding: "zstd", body: zstandard(strings.Repeat("x 1\n", 2*limits.MaxCheckBody/4)), result: "too_large", error: "parses only 32 MiB", features: "zstd-scrape"},
		"not a number":           {contentType: text, body: "x one\n", result: "not_metrics", error: `line 1: "one" is not a number, in "x one"`},
		"bad line":               {contentType: text, body: "a 1\n\n# TYPE a foo\n", result: "not_metrics", error: `line 3: invalid metric type "foo", in "# TYPE a foo"`},
		"lines of Windows":       {contentType: text, body: "a 1\r\n", result: "not_metrics", error: `line 1: it ends in CR LF, but lines of metrics end in LF, in "a 1\r"`},
		"label twice":            {contentType: text, body: "x{a=\"1\",a=\"2\"} 1\n", result: "not_metrics", error: `label "a" is there twice in {__name__="x", a="1", a="2"}`},
		"broken gzip":            {contentType: text, encoding: "gzip", body: gzipped("x 1\n")[:20], result: "not_metrics", error: "unexpected EOF"},
		"no gzip":                {contentType: text, encoding: "gzip", body: "x 1\n", result: "not_metrics", error: "unexpected EOF"},
		"brotli":                 {contentType: text, encoding: "br", body: "?", result: "not_metrics", error: `"br", but Prometheus understands only gzip and zstd`},
		"series twice":           {contentType: text, body: "x 1\nx 2\nx 3 1700000000\n", result: "ok", samples: samples{1, 1}},
		"no last line feed":      {contentType: text, body: "x 1", result: "ok", samples: samples{Series: 1}, lint: "its last line does not end in a line feed"},
		"escape sequence":        {contentType: text, body: "x \x1b[2J\n", result: "not_metrics", error: `\x1b[2J`},
		"protobuf":               {contentType: protobuf, body: strings.Repeat("\x00", 4<<20), result: "not_metrics", error: "this is protobuf; let the service respect the Accept header"},
		"too large to lint":      {contentType: text, body: large[:limits.MaxLintBody+4], result: "ok", samples: samples{1, limits.MaxLintBody / 4}, lint: "not linted: it is larger than 8 MiB"},
		"too large":              {contentType: text, body: large, result: "too_large", error: "only 32 MiB"},
		"too large decompressed": {contentType: text, encoding: "gzip", body: gzipped(large), result: "too_large", error: "only 32 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			serve(t, dir, "svc.sock", func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Type"] = nil
				if tt.contentType != "" {
					w.Header().Set("Content-Type", tt.contentType)
				}
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				io.WriteString(w, tt.body)
			})
			got := reportsOf(t, dir, targetsfile.File{}, Options{Lint: true, Timeout: limits.MaxScrapeTimeout})[0]
			if got.Result != tt.result || !strings.Contains(got.Error, tt.error) || got.samples != tt.samples || got.Features != tt.features || got.Bytes != len(tt.body) {
				t.Errorf("%+v; want %s, %+v, %d bytes, error %q", got, tt.result, tt.samples, len(tt.body), tt.error)
			}
			if strings.ContainsFunc(got.Error, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q could control a terminal", got.Error)
			}
			if lint := fmt.Sprint(got.Lint); !strings.Contains(lint, tt.lint) {
				t.Errorf("lint %s, want %q", lint, tt.lint)
			}
		})
	}
}

func zstandard(s string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return string(w.EncodeAll([]byte(s), nil))
}

// A check finds what promlint finds, each problem once, but for repeated series, which it finds itself.
func TestLint(t *testing.T) {
	for _, body := range []string{
		"x 1\n",
		"# HELP x_total Help.\n# TYPE x_total counter\nx_total 1\n",
		"# TYPE requests counter\nrequests{Path=\"a\"} 1\nrequests{path=\"a\"} 1\nrequests{path=\"b\"} 1\nrequests{path=\"a\"} 2\nrequests{path=\"a\"} 3\n",
		"# HELP a:b_milliseconds_gauge\n# TYPE a:b_milliseconds_gauge gauge\na:b_milliseconds_gauge{le=\"1\"} 1\na:b_milliseconds_gauge{quantile=\"1\"} 1\n",
		"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
	} {
		found, err := promlint.New(strings.NewReader(body)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		var want []problem
		for _, p := range slices.Compact(found) {
			if p.Text != "metric not unique" {
				want = append(want, problem(p))
			}
		}
		e := exposition{contentType: "text/plain", body: []byte(body), deadline: time.Now().Add(time.Hour)}
		if got := e.lint(); !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %q\nwant %q", body, got, want)
		}
	}
}

// It would take half an hour to compare each series with each other.
func TestLintManySeries(t *testing.T) {
	body := []byte("# HELP x_total Help.\n# TYPE x_total counter\n")
	for i := range 100_000 {
		body = fmt.Appendf(body, "x_total{path=\"/%d\"} 1\n", i%99_999)
	}
	e := exposition{contentType: "text/plain", body: body, deadline: time.Now().Add(time.Hour)}
	if got := e.lint(); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestTooSlow(t *testing.T) {
	for _, body := range []string{"x 1\n", "x one\n"} {
		e := exposition{contentType: "text/plain", body: []byte(body), size: len(body), deadline: time.Now().Add(-1)}
		if _, err := e.parse(); err != errTooSlow {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func gzipped(s string) string {
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	io.WriteString(w, s)
	w.Close()
	return compressed.String()
}
