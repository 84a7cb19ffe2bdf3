package target

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

func makeDir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// A target that the targets file has fails without its socket, and is not gone.
func TestTargetOfTheFileIsNotGone(t *testing.T) {
	for name, settings := range map[string]targetsfile.Target{
		"elsewhere": {Socket: filepath.Join(t.TempDir(), "absent.sock")},
		"inside":    {Timeout: time.Second},
	} {
		s := newTestSet(t)
		s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{name: settings}})
		for range 2 {
			s.scrape(name)
			if got := s.snapshot(name); got.State != Failing || ResultOf(got.Err) != NotFound {
				t.Errorf("%s: %s, %v; want failing, not_found", name, got.State, got.Err)
			}
			s.reconcile()
		}
		if got := s.result(name); got != NotFound {
			t.Errorf("after a reconciliation %s is %q", name, got)
		}
		if n, _ := s.scrapes(name, NotFound); n != 2 {
			t.Errorf("%g scrapes of %s are counted, want 2", n, name)
		}
		if s.log.count(`level=WARN msg="target is failing" target=`+name+` reason=not_found`) != 1 || s.log.count("target is gone") != 0 {
			t.Errorf("log: %q", s.log.lines())
		}
	}
}

// A target that the targets file disables is gone.
func TestDisabledTargetIsGone(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.scrape("svc")
	s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{"svc": {Disabled: true}}})
	s.reconcile()
	if got := s.snapshot("svc"); !errors.Is(got.Err, ErrDisabled) {
		t.Errorf("%v, want %v", got.Err, ErrDisabled)
	}
	s.SetFile(targetsfile.File{})
	s.reconcile()
	if got := s.snapshot("svc"); got.State != Unscraped || got.Err != nil {
		t.Errorf("enabled again: %s, %v; want unscraped", got.State, got.Err)
	}
}

// Records stay as they are while the directory cannot be read, or nobody waits any longer.
func TestUnreadableDirectoryChangesNothing(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.scrape("svc")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Reconcile(ctx); !errors.Is(err, context.Canceled) || len(s.log.lines()) != 0 {
		t.Errorf("canceled: %v, log %q", err, s.log.lines())
	}
	remove(t, s.path)
	if _, err := s.Reconcile(t.Context()); !errors.Is(err, socketdir.ErrNoDirectory) {
		t.Errorf("without the directory: %v", err)
	}
	if got := s.result("svc"); got != OK {
		t.Errorf("without the directory svc is %s", got)
	}
}

// They report what the last reconciliation found.
func TestDirectoryMetrics(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.service("metrics", metrics1)
	s.reconcile()
	up, _ := s.metric("aegis_sockdir_up")
	if n, _ := s.metric("aegis_sockets"); n != 1 || up != 1 {
		t.Errorf("%g sockets, up %g; want 1, 1", n, up)
	}
	remove(t, s.path)
	s.Reconcile(t.Context())
	up, _ = s.metric("aegis_sockdir_up")
	if _, ok := s.metric("aegis_sockets"); ok || up != 0 {
		t.Errorf("without the directory: sockets present %v, up %g; want false, 0", ok, up)
	}
}

func TestDirectoryIsLoggedOnce(t *testing.T) {
	s := newTestSet(t)
	path := s.path
	remove(t, path)
	s.StatusLine(t.Context())
	s.StatusLine(t.Context())
	if n := s.log.count("cannot read the directory"); n != 1 {
		t.Errorf("%d lines that it cannot be read, want 1", n)
	}
	makeDir(t, path)
	s.reconcile()
	s.reconcile()
	if n := s.log.count("can be read again"); n != 1 {
		t.Errorf("%d lines that it can be read again, want 1", n)
	}
}

func TestDuplicateLabelsAreLogged(t *testing.T) {
	s := newTestSet(t)
	file := targetsfile.File{Targets: map[string]targetsfile.Target{"a": {Labels: map[string]string{"job": "b"}}}}
	s.SetFile(file)
	const line = "two targets have the same labels"
	s.service("a", metrics1)
	s.reconcile()
	if s.log.count(line) != 0 {
		t.Errorf("logged without the other: %q", s.log.lines())
	}
	l := s.service("b", metrics1)
	s.reconcile()
	s.reconcile()
	if n := s.log.count(line + ", "); n != 1 || s.log.count("target=a other=b") != 1 {
		t.Errorf("logged %d times, want once: %q", n, s.log.lines())
	}
	l.Close()
	s.reconcile()
	s.service("b", metrics1)
	s.reconcile()
	if n := s.log.count(line); n != 2 {
		t.Errorf("after the other was gone for a while: logged %d times, want 2", n)
	}
}

// A restriction of a target that does not exist may have a wrong name.
func TestRestrictionsWithoutTargetAreLogged(t *testing.T) {
	s := newTestSet(t)
	s.service("there", metrics1)
	s.service("off", metrics1)
	file := targetsfile.File{Targets: map[string]targetsfile.Target{
		"there":     {Allow: &targetsfile.Allow{}},
		"off":       {Disabled: true},
		"hidden":    {Allow: &targetsfile.Allow{}},
		"disabled":  {Disabled: true},
		"labeled":   {Labels: map[string]string{"a": "b"}},
		"elsewhere": {Socket: "/run/x.sock", Allow: &targetsfile.Allow{}},
	}}
	for reloads := 1; reloads <= 2; reloads++ {
		s.SetFile(file)
		s.reconcile()
		s.reconcile()
		const line = "restricts a target that is not in the directory"
		for _, name := range []string{"hidden", "disabled"} {
			if n := s.log.count("target=" + name); n != reloads {
				t.Errorf("%s is logged %d times after %d reloads", name, n, reloads)
			}
		}
		if n := s.log.count(line); n != 2*reloads {
			t.Errorf("%d lines after %d reloads: %q", n, reloads, s.log.lines())
		}
	}
}

// What becomes visible to every client may be a mistake.
func TestOpenedTargetsAreLogged(t *testing.T) {
	s := newTestSet(t)
	restricted := targetsfile.Target{Allow: &targetsfile.Allow{}}
	s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{
		"opened": restricted, "removed": restricted, "disabled": restricted, "kept": restricted,
	}})
	s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{
		"opened": {}, "disabled": {Disabled: true}, "kept": restricted, "new": {},
	}})
	if n := s.log.count("now allows every client"); n != 2 || s.log.count("target=opened") != 1 || s.log.count("target=removed") != 1 {
		t.Errorf("logged %q, want opened and removed", s.log.lines())
	}
}
