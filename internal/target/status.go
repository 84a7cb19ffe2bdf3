package target

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// State is how a target does.
type State string

const (
	Failing   State = "failing"
	Unscraped State = "unscraped"
	Fine      State = "fine"
)

// Snapshot is a target and how it does, at one moment.
type Snapshot struct {
	Entry
	State       State
	Since       time.Time // of State; zero if it is Unscraped
	Err         error     // why it fails, nil if it does not
	Last        Outcome   // of the last scrape; its At is zero if there was none
	LastFailure Outcome   // that reflects the service; its At is zero if there was none
}

// Snapshots returns a Snapshot for each entry that is served.
func (s *Set) Snapshots(entries []Entry) []Snapshot {
	snapshots := make([]Snapshot, 0, len(entries))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		if e.Err == nil {
			snapshots = append(snapshots, s.records[e.Name].snapshot(e))
		}
	}
	return snapshots
}

// snapshot returns the Snapshot of e, whose record r is; r may be nil.
func (r *record) snapshot(e Entry) Snapshot {
	if r == nil {
		return Snapshot{Entry: e, State: Unscraped}
	}
	snapshot := Snapshot{Entry: e, State: Failing, Since: r.since, Err: r.err, Last: r.last, LastFailure: r.lastFailure}
	switch r.state {
	case "":
		snapshot.State = Unscraped
	case OK:
		snapshot.State = Fine
	}
	return snapshot
}

// StatusLine returns how all targets do, in one line: how many there are, how many are fine,
// and which fail and why.
func (s *Set) StatusLine(ctx context.Context) string {
	entries, err := s.Reconcile(ctx)
	if err != nil {
		return err.Error()
	}
	count := make(map[State]int)
	var reasons []string
	snapshots := s.Snapshots(entries)
	for _, t := range snapshots {
		count[t.State]++
		if t.State == Failing && len(reasons) < limits.MaxStatusTargets {
			reasons = append(reasons, fmt.Sprintf("%s: %v", t.Name, Sentinel(t.Err)))
		}
	}
	parts := []string{
		fmt.Sprintf("%s in %s", plural(len(snapshots), "socket"), s.dir),
		fmt.Sprintf("%d fine", count[Fine]),
	}
	if n := count[Unscraped]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d not scraped yet", n))
	}
	parts = append(parts, reasons...)
	if more := count[Failing] - len(reasons); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more failing", more))
	}
	if n := countNotServed(entries); n > 0 {
		parts = append(parts, fmt.Sprintf("%d not served, GET / says why", n))
	}
	return strings.Join(parts, "; ")
}

// countNotServed returns how many entries are not served although nobody disabled them.
func countNotServed(entries []Entry) (n int) {
	for _, e := range entries {
		if e.Err != nil && e.Err != ErrDisabled {
			n++
		}
	}
	return n
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
