package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

func TestSeriesAreCounted(t *testing.T) {
	const metrics = "# HELP x y\n# TYPE x counter\nx 1\n\nx{a=\"#\"} 2\nlast 3"
	large := strings.Repeat("x 1\n# no\n", limits.MaxBufferedBody)
	for _, tt := range []struct {
		name, contentType, encoding, body string
		want                              int
	}{
		{"text", "text/plain; version=0.0.4", "", metrics, 3},
		{"empty", "text/plain", "", "", 0},
		{"OpenMetrics", "Application/OpenMetrics-Text; version=1.0.0", "identity", "x 1\n# EOF\n", 1},
		{"gzip", "text/plain", "gzip", zipped(metrics), 3},
		{"streamed", "text/plain", "", large, limits.MaxBufferedBody},
		{"large once unpacked", "text/plain", "gzip", zipped(large), limits.MaxBufferedBody},
		{"too large once unpacked", "text/plain", "gzip", zipped(strings.Repeat("x 1\n", limits.MaxDecompressed/4+1)), uncounted},
		{"no gzip", "text/plain", "gzip", metrics, uncounted},
		{"gzip cut short", "text/plain", "gzip", zipped(metrics)[:20], uncounted},
		{"another encoding", "text/plain", "zstd", metrics, uncounted},
		{"protobuf", "application/vnd.google.protobuf", "", "\x00\n\n", uncounted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t)
			a.service("svc", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tt.contentType)
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				w.Write([]byte(tt.body))
			})
			if got := a.get("/svc"); got.body != tt.body {
				t.Errorf("%d bytes came, %d were sent (%v)", len(got.body), len(tt.body), got.err)
			}
			eventually(t, "a count", func() bool { got, _ := a.targets.known("svc"); return !got.countedAt.IsZero() })
			if got, _ := a.targets.known("svc"); got.series != tt.want {
				t.Errorf("%d series, want %d", got.series, tt.want)
			}
			if n := a.censuses.Load(); n != 0 {
				t.Errorf("%d censuses are under way", n)
			}
		})
	}
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	z.Close()
	return b.String()
}

// Lines are counted alike however they are cut.
func TestLinesInPieces(t *testing.T) {
	const text = "# x\n\na 1\n#\nb 2\n\n c 3"
	for size := 1; size <= len(text); size++ {
		var l lines
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			l.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if got := l.count(); got != 3 {
			t.Errorf("in pieces of %d bytes: %d lines, want 3", size, got)
		}
	}
}

// To count costs more than to pass on: it is done now and then.
func TestCountingIsRare(t *testing.T) {
	a := start(t)
	at := time.Now()
	const size = 1600
	due := func(name string, after time.Duration, length int64) bool {
		return a.targets.lastCount(name).due(at.Add(after), length)
	}
	if !due("svc", 0, size) {
		t.Error("a new target is not counted")
	}
	a.targets.record("svc", true, outcome{at: at, bytes: size, result: resultOK})
	if !due("svc", 0, size) {
		t.Error("a target that was not counted is not counted")
	}
	a.targets.record("svc", true, outcome{at: at, bytes: size, result: resultOK, counted: true, series: uncounted})
	for _, length := range []int64{-1, size, size * 15 / 16, size * 17 / 16} {
		if due("svc", limits.CountInterval-1, length) {
			t.Errorf("counted before its time, in a body of %d bytes", length)
		}
		if !due("svc", limits.CountInterval, length) {
			t.Errorf("not counted when it is time, in a body of %d bytes", length)
		}
	}
	for _, length := range []int64{0, size * 7 / 8, size * 9 / 8, 1 << 40} {
		if !due("svc", 1, length) {
			t.Errorf("not counted in a body of %d bytes, where it were %d before", length, size)
		}
	}
	for i := range limits.MaxTargets {
		a.targets.record(fmt.Sprint("t", i), true, outcome{at: at, result: resultOK})
	}
	if due("other", 0, size) {
		t.Error("counted though it is not remembered")
	}
}

// A body that breaks has no number of series.
func TestBrokenBodyIsNotCounted(t *testing.T) {
	a := start(t)
	a.raw("svc", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9000000\r\n\r\n"+strings.Repeat("x 1\n", limits.MaxBufferedBody))
	a.get("/svc")
	eventually(t, "the end of a scrape", func() bool { got, _ := a.targets.known("svc"); return !got.last.at.IsZero() })
	if got, _ := a.targets.known("svc"); !got.countedAt.IsZero() || a.censuses.Load() != 0 {
		t.Errorf("%d series, %d censuses under way", got.series, a.censuses.Load())
	}
}

func TestCensusesAreBounded(t *testing.T) {
	a := start(t)
	a.service("svc", fine)
	a.censuses.Add(limits.Censuses)
	if got := a.get("/svc"); got.body != "x 1\n" {
		t.Errorf("got %q", got.body)
	}
	if got, _ := a.targets.known("svc"); !got.countedAt.IsZero() {
		t.Error("counted, though as many are as may be")
	}
}
