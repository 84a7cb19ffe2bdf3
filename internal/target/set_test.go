package target

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// testSet is a Set with its directory, its log and its metrics.
type testSet struct {
	*Set
	t        *testing.T
	path     string
	log      *logBuffer
	registry *prometheus.Registry
}

func newTestSet(t *testing.T) *testSet {
	s := &testSet{t: t, path: t.TempDir(), log: new(logBuffer), registry: prometheus.NewRegistry()}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	s.Set = NewSet(socketdir.New(s.path), targetsfile.File{}, log, s.registry)
	return s
}

// socket returns the path of the socket called name.
func (s *testSet) socket(name string) string { return filepath.Join(s.path, name+socketdir.Suffix) }

// service serves the socket called name with h.
func (s *testSet) service(name string, h http.HandlerFunc) *net.UnixListener {
	s.t.Helper()
	l, err := net.Listen("unix", s.socket(name))
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go server.Serve(l)
	s.t.Cleanup(func() { server.Close() })
	return l.(*net.UnixListener)
}

// stale makes the socket called name, on which nobody listens.
func (s *testSet) stale(name string) {
	l := s.service(name, metrics1)
	l.SetUnlinkOnClose(false)
	l.Close()
}

// metrics1 serves one sample of 4 bytes.
func metrics1(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	io.WriteString(w, "x 1\n")
}

// scrape scrapes the target called name.
func (s *testSet) scrape(name string) Outcome { return s.scrapeFor(10*time.Second, "GET", name) }

func (s *testSet) scrapeFor(timeout time.Duration, method, name string) Outcome {
	r := httptest.NewRequest(method, "/"+name, nil)
	target := s.Get(name)
	req := target.Request(r)
	req.Timeout = timeout
	ctx, cancel := context.WithTimeout(s.t.Context(), timeout)
	defer cancel()
	return target.Scrape(ctx, r, req, func(response *scrape.Response) (int64, error) {
		n, err := response.WriteTo(io.Discard)
		if method == "HEAD" {
			n = 0
		}
		return n, err
	})
}

// found records the outcome of a scrape for which the socket called name was found.
func (s *testSet) found(name string, at time.Time, err error) {
	target := s.Get(name)
	target.found = true
	target.note(Outcome{At: at, Result: ResultOf(err), Err: err})
}

// missed records the outcome of a scrape for which the socket called name was not found.
func (s *testSet) missed(name string, at time.Time, err error) {
	target := s.Get(name)
	target.note(Outcome{At: at, Result: ResultOf(err), Err: err})
}

func (s *testSet) reconcile() {
	s.t.Helper()
	if _, err := s.Reconcile(s.t.Context()); err != nil {
		s.t.Error(err)
	}
}

// snapshot returns how the target called name does, whether or not it is listed.
func (s *testSet) snapshot(name string) Snapshot {
	return s.Snapshots([]Entry{{Entry: socketdir.Entry{Name: name}}})[0]
}

// result returns the result that is the state of the target called name.
func (s *testSet) result(name string) Result {
	snapshot := s.snapshot(name)
	if snapshot.State == Unscraped {
		return ""
	}
	return ResultOf(snapshot.Err)
}

// scrapes returns how many scrapes of a target with a result are counted, and whether there
// is such a series.
func (s *testSet) scrapes(name string, result Result) (count float64, ok bool) {
	return s.metric(ScrapesTotal, name, string(result))
}

// metric returns the value of a metric whose labels contain all of values.
func (s *testSet) metric(name string, values ...string) (value float64, ok bool) {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && hasLabelValues(m, values) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

func hasLabelValues(m *dto.Metric, values []string) bool {
	found := 0
	for _, l := range m.Label {
		for _, v := range values {
			if l.GetValue() == v {
				found++
			}
		}
	}
	return found == len(values)
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// logBuffer is the output of a log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// lines returns the lines without their time.
func (b *logBuffer) lines() (lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.buf.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
		lines = append(lines, line)
	}
	return lines
}

// count returns how many lines contain text.
func (b *logBuffer) count(text string) (n int) {
	for _, line := range b.lines() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// A scrape beyond limits.MaxScrapes waits for a slot, and fails if it gets none in time.
func TestScrapesAreBounded(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	for range limits.MaxScrapes {
		s.slots.TryAcquire()
	}
	for range 2 {
		if o := s.scrapeFor(100*time.Millisecond, "GET", "svc"); o.Result != Busy || !errors.Is(o.Err, ErrTooMany) {
			t.Errorf("beyond the limit: %v, want %v", o.Err, ErrTooMany)
		}
	}
	if n := s.log.count("too many scrapes at once"); n != 1 {
		t.Errorf("%d log lines within a minute, want 1", n)
	}
	waiting := make(chan Outcome)
	go func() { waiting <- s.scrape("svc") }()
	time.Sleep(20 * time.Millisecond) // It passes without that too, but then it need not wait.
	s.slots.Release()
	if o := <-waiting; o.Err != nil {
		t.Errorf("a scrape that waits for a slot: %v", o.Err)
	}
	if o := s.scrape("svc"); o.Err != nil {
		t.Errorf("the last scrape below the limit: %v", o.Err)
	}
}

// A client that hangs up while its scrape waits for a slot says nothing about the limit.
func TestHangUpWhileWaiting(t *testing.T) {
	s := newTestSet(t)
	for range limits.MaxScrapes {
		s.slots.TryAcquire()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("GET", "/svc", nil)
	target := s.Get("svc")
	if o := target.Scrape(ctx, r, target.Request(r), nil); o.Result != Canceled {
		t.Errorf("%s, want %s", o.Result, Canceled)
	}
}

// Scrapes, lists, reconciliations and reloads may all run at once.
func TestConcurrentUse(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.stale("flaps")
	var done sync.WaitGroup
	for _, use := range []func(i int){
		func(i int) { s.scrape("svc") },
		func(i int) { s.scrapeFor(time.Second, "HEAD", "svc") },
		func(i int) { s.scrape("flaps") },
		func(i int) {
			os.Rename(s.socket("flaps"), s.socket("away"))
			os.Rename(s.socket("away"), s.socket("flaps"))
		},
		func(i int) { s.StatusLine(t.Context()) },
		func(i int) { s.metric("aegis_sockets") },
		func(i int) { s.Notify() },
		func(i int) {
			s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{"svc": {Path: "/metrics", Disabled: i%2 == 0}}})
		},
		func(i int) {
			for _, snapshot := range s.Snapshots([]Entry{{Entry: socketdir.Entry{Name: "svc"}}, {Entry: socketdir.Entry{Name: "flaps"}}}) {
				_ = snapshot.Last.ReflectsService() && snapshot.State == Failing && snapshot.Err.Error() == ""
			}
		},
	} {
		done.Go(func() {
			for i := range 100 {
				use(i)
			}
		})
	}
	done.Wait()
}
