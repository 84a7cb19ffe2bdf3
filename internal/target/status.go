package target

import (
	"context"
	"fmt"
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
	State State
	*History
}

// History is what is remembered about the scrapes of a target.
type History struct {
	Since       time.Time // of the state; zero if that is Unscraped
	Err         error     // why it fails, nil if it does not
	Last        Outcome   // of the last scrape; its At is zero if there was none
	LastFailure Outcome   // that reflects the service; its At is zero if there was none
}

var noHistory History

// stateOf returns the state that result, empty before the first scrape, stands for. A target that fails now
// in one way and now in another has been failing all the time.
func stateOf(result Result) State {
	switch result {
	case "":
		return Unscraped
	case OK:
		return Fine
	}
	return Failing
}

// Snapshots returns a Snapshot for each entry that is served.
func (s *Set) Snapshots(entries []Entry) []Snapshot {
	snapshots := make([]Snapshot, 0, len(entries))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		if e.Err != nil {
			continue
		}
		snapshot := Snapshot{e, Unscraped, &noHistory}
		if r := s.records[e.Name]; r != nil {
			snapshot = Snapshot{e, stateOf(r.result), &History{r.since, r.err, r.last, r.lastFailure}}
		}
		snapshots = append(snapshots, snapshot)
	}
	return snapshots
}

// StatusLine returns how all targets do, in one line: how many there are, how many are fine, and which fail
// and why.
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
	noun := "sockets"
	if len(snapshots) == 1 {
		noun = "socket"
	}
	line := fmt.Sprintf("%d %s in %s; %d fine", len(snapshots), noun, s.Directories(), count[Fine])
	if n := count[Unscraped]; n > 0 {
		line += fmt.Sprintf("; %d not scraped yet", n)
	}
	for _, reason := range reasons {
		line += "; " + reason
	}
	if more := count[Failing] - len(reasons); more > 0 {
		line += fmt.Sprintf("; %d more failing", more)
	}
	notServed := 0
	for _, e := range entries {
		if e.Err != nil && e.Err != ErrDisabled { // What the operator disabled needs nobody's attention.
			notServed++
		}
	}
	if notServed > 0 {
		line += fmt.Sprintf("; %d not served, GET / says why", notServed)
	}
	return line
}
