package target

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

func TestRecordsAreBounded(t *testing.T) {
	s := newTestSet(t)
	for i := range limits.MaxTargets + 10 {
		s.found(fmt.Sprint("t", i), time.Now(), nil)
	}
	if n := len(s.records); n != limits.MaxTargets {
		t.Errorf("%d records, want %d", n, limits.MaxTargets)
	}
	s.service("late", metrics1)
	if o := s.scrape("late"); o.Err != nil {
		t.Error(o.Err)
	}
	if n, _ := s.scrapes(otherTargets, OK); n != 11 {
		t.Errorf("%g scrapes of other targets, want 11", n)
	}
	if got := s.snapshot("late"); got.State != Unscraped {
		t.Errorf("without a record: %s, want %s", got.State, Unscraped)
	}

	// Without records of their own, targets share slots: one that hangs cannot take all.
	for range limits.MaxScrapes / 2 {
		s.others.slots.TryAcquire()
	}
	if o := s.scrape("late"); !errors.Is(o.Err, ErrTooMany) {
		t.Errorf("with all slots of other targets taken: %v, want %v", o.Err, ErrTooMany)
	}
	if n, _ := s.metric("aegis_unknown_target_requests_total"); n != 0 {
		t.Errorf("%g requests for unknown targets, want 0", n)
	}
}

func TestNamesThatNeverWereTargetsHaveNoRecord(t *testing.T) {
	s := newTestSet(t)
	for i := range 50 {
		if o := s.scrape(fmt.Sprint("absent", i)); o.Result != NotFound {
			t.Error(o.Err)
		}
	}
	if n, _ := s.metric("aegis_unknown_target_requests_total"); n != 50 || len(s.records) != 0 {
		t.Errorf("%g requests, %d records; want 50, 0", n, len(s.records))
	}
}

func TestGoneTargetsAreForgotten(t *testing.T) {
	s := newTestSet(t)
	l := s.service("svc", metrics1)
	s.scrape("svc")
	inFlight := s.Get("svc")
	synctest.Test(t, func(t *testing.T) {
		s.Reconcile(t.Context())
		l.Close()
		s.Reconcile(t.Context())
		time.Sleep(limits.ForgetTimeout - time.Second)
		s.Reconcile(t.Context())
		if len(s.records) != 1 {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Second)
		s.Reconcile(t.Context())
		if len(s.records) != 0 {
			t.Error("not forgotten")
		}
	})
	if _, ok := s.scrapes("svc", OK); ok {
		t.Error("its series is still there")
	}
	// Recording a scrape that was in flight meanwhile brings no series back, since nothing
	// would ever remove that.
	inFlight.note(Outcome{At: time.Now(), Result: Refused, Err: socketdir.ErrRefused})
	if _, ok := s.scrapes("svc", Refused); ok {
		t.Error("a scrape in flight has made a series without a record")
	}
}

// Nothing is known about a socket that is there again, until it is scraped.
func TestTargetComesBack(t *testing.T) {
	s := newTestSet(t)
	l := s.service("svc", metrics1)
	s.scrape("svc")
	l.Close()
	s.reconcile()
	s.service("svc", metrics1)
	s.reconcile()
	if got := s.snapshot("svc"); got.State != Unscraped || !got.Last.At.IsZero() || !got.Since.IsZero() {
		t.Errorf("%s since %v, last scrape at %v; want an unscraped target", got.State, got.Since, got.Last.At)
	}
	if got, want := s.StatusLine(t.Context()), "1 socket in "+s.path+"; 0 fine; 1 not scraped yet"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	s.scrape("svc")
	if got, want := s.StatusLine(t.Context()), "1 socket in "+s.path+"; 1 fine"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
}

func TestHeadKeepsTheSize(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.scrape("svc")
	s.scrapeFor(10*time.Second, "HEAD", "svc")
	if got := s.snapshot("svc").Last.Bytes; got != 4 {
		t.Errorf("after HEAD the size is %d, want 4", got)
	}
	if n, _ := s.metric("aegis_relayed_bytes_total"); n != 4 {
		t.Errorf("%g bytes relayed, want 4", n)
	}
}

// A target that is replaced by a regular file fails for that reason, at each scrape and at
// each reconciliation.
func TestTargetReplacedByAFile(t *testing.T) {
	s := newTestSet(t)
	l := s.service("svc", metrics1)
	s.found("svc", time.Now().Add(-time.Minute), nil)
	l.Close()
	if err := os.WriteFile(s.socket("svc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.reconcile()
		s.scrape("svc")
		if got := s.result("svc"); got != NotSocket {
			t.Errorf("%s, want %s", got, NotSocket)
		}
	}
	if s.log.count("target is failing") != 1 || s.log.count("target is gone") != 0 {
		t.Errorf("log: %q", s.log.lines())
	}
}

// Sockets that the directory lists have a series even if looking them up is denied.
func TestDeniedLookupIsCounted(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.reconcile()
	for _, name := range []string{"svc", "svc", "absent"} {
		s.missed(name, time.Now(), socketdir.ErrDenied)
	}
	if n, _ := s.scrapes("svc", Denied); n != 2 {
		t.Errorf("%g scrapes of a listed socket, want 2", n)
	}
	if _, ok := s.scrapes("absent", Denied); ok {
		t.Error("a name that is not listed has a series")
	}
}

// A listed socket that was gone for a moment is there again, even if looking it up is denied.
func TestDeniedLookupIsNotGone(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.scrape("svc")
	s.reconcile()
	s.missed("svc", time.Now(), socketdir.ErrNotFound)
	s.missed("svc", time.Now(), socketdir.ErrDenied)
	s.reconcile()
	if got := s.result("svc"); got != Denied {
		t.Errorf("%q, want %s", got, Denied)
	}
}

func TestStateIsLoggedWhenItChanges(t *testing.T) {
	s := newTestSet(t)
	at := time.Now()
	s.found("svc", at, nil)
	s.found("svc", at, nil)
	at = at.Add(limits.StateLogInterval)
	s.found("svc", at, socketdir.ErrRefused)
	s.found("svc", at, socketdir.ErrRefused)
	// A change within the interval is not logged, nor is what says nothing about the service.
	s.found("svc", at, nil)
	s.found("svc", at, socketdir.ErrRefused)
	s.found("svc", at.Add(time.Minute), ErrTooMany)
	s.found("svc", at.Add(time.Minute), scrape.ErrCanceled)
	s.missed("svc", at.Add(time.Minute), ErrForbidden)
	s.missed("svc", at.Add(time.Minute), socketdir.ErrNotFound)
	s.found("svc", at.Add(time.Hour), nil)
	want := []string{
		`level=WARN msg="target is failing" target=svc reason=refused error="` + socketdir.ErrRefused.Error() + `"`,
		`level=INFO msg="target is gone" target=svc`,
		`level=INFO msg="target is fine" target=svc`,
	}
	if got := s.log.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A target that fails in another way now has been failing since it first did.
func TestFailingSince(t *testing.T) {
	s := newTestSet(t)
	at := time.Now().Add(-time.Hour)
	s.found("svc", at, nil)
	since := at.Add(time.Minute)
	s.found("svc", since, scrape.ErrStatus)
	s.found("svc", since.Add(time.Minute), scrape.ErrTruncated)
	if got := s.snapshot("svc"); !got.Since.Equal(since) || ResultOf(got.Err) != Truncated || got.State != Failing {
		t.Errorf("%s since %v: %v; want truncated since %v", got.State, got.Since, got.Err, since)
	}
	fine := since.Add(time.Hour)
	s.found("svc", fine, nil)
	got := s.snapshot("svc")
	if !got.Since.Equal(fine) || got.State != Fine || got.Err != nil || got.LastFailure.Result != Truncated {
		t.Errorf("%s since %v: %v, last failure %s; want fine since %v", got.State, got.Since, got.Err, got.LastFailure.Result, fine)
	}
}

// A full backlog is the service's state; too many scrapers, or one that hangs up or may not
// see the target, are not.
func TestClientsDoNotChangeTheState(t *testing.T) {
	s := newTestSet(t)
	s.found("svc", time.Now(), nil)
	for _, err := range []error{ErrTooMany, scrape.ErrCanceled, ErrHTTP10, ErrForbidden} {
		s.found("svc", time.Now(), err)
		if got := s.snapshot("svc"); got.State != Fine || got.LastFailure.Err != nil {
			t.Errorf("%v makes the state %s", err, got.State)
		}
	}
	if got := s.snapshot("svc").Last.Result; got != Canceled {
		t.Errorf("the last scrape is %s, want %s: a client that may not see the target changes nothing", got, Canceled)
	}
	s.found("svc", time.Now(), socketdir.ErrBusy)
	if got := s.result("svc"); got != Busy {
		t.Errorf("a full backlog makes the state %s, want %s", got, Busy)
	}
}

func TestChangedStatesNotify(t *testing.T) {
	s := newTestSet(t)
	for i, tt := range []struct {
		err  error
		want int
	}{{nil, 1}, {nil, 0}, {socketdir.ErrRefused, 1}, {scrape.ErrCanceled, 0}, {nil, 1}} {
		s.found("svc", time.Now(), tt.err)
		if got := len(s.Changed()); got != tt.want {
			t.Errorf("scrape %d, %v: %d notifications, want %d", i, tt.err, got, tt.want)
		}
		for len(s.Changed()) > 0 {
			<-s.Changed()
		}
	}
}
