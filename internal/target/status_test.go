package target

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

func TestStatusLine(t *testing.T) {
	s := newTestSet(t)
	s.service("fine", metrics1)
	s.service("disabled", metrics1)
	s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{"disabled": {Disabled: true}}})
	s.scrape("fine")
	var refused []string
	for i := range limits.MaxStatusTargets + 2 {
		name := fmt.Sprint("stale", i)
		s.stale(name)
		s.scrape(name)
		refused = append(refused, fmt.Sprintf("%s: %v", name, socketdir.ErrRefused))
	}
	if err := os.WriteFile(s.socket("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("6 sockets in %s; 1 fine; %s; 2 more failing; 1 not served, GET / says why",
		s.path, strings.Join(refused[:limits.MaxStatusTargets], "; "))
	if got := s.StatusLine(t.Context()); got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	remove(t, s.path)
	if got := s.StatusLine(t.Context()); !strings.HasPrefix(got, socketdir.ErrNoDirectory.Error()) || !strings.Contains(got, s.path) {
		t.Errorf("without the directory: %q", got)
	}
}

// Snapshots may be read while scrapes change the records.
func TestSnapshotsAreCopies(t *testing.T) {
	s := newTestSet(t)
	before := s.snapshot("svc")
	if before.State != Unscraped || before.Err != nil {
		t.Errorf("without a record: %s, %v", before.State, before.Err)
	}
	at := time.Now()
	s.found("svc", at, socketdir.ErrRefused)
	failing := s.snapshot("svc")
	s.found("svc", at.Add(time.Second), nil)
	if failing.State != Failing || !failing.Last.At.Equal(at) || failing.Err == nil {
		t.Errorf("a later scrape has changed a snapshot to %s, %v", failing.State, failing.Err)
	}
}
