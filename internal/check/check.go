// Package check scrapes targets once, as the daemon would, parses their metrics as
// Prometheus does, and reports what is wrong.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
)

// ErrFindings means that a check found something wrong, and has printed what.
var ErrFindings = errors.New("not all targets are fine")

// Options says what to check and how to report it.
type Options struct {
	Names   []string      // of targets; all targets if empty
	Lint    bool          // run promlint on the metrics
	Timeout time.Duration // the scrape_timeout of Prometheus
	JSON    bool          // report as JSON instead of a table
	// RunAs is a command that runs the same check as the user of the service; empty if
	// this process runs as that user (see CommandAs).
	RunAs   string
	Version string // of Aegis, for the User-Agent
	// Stdout gets the report. Stderr gets warnings, and with JSON all that is not JSON.
	Stdout, Stderr io.Writer
}

// Run checks targets of set and reports on each. It returns ErrFindings if one of them is
// not fine, or if Prometheus cannot tell two of them apart.
func Run(set *target.Set, o Options) error {
	if o.RunAs != "" {
		fmt.Fprintf(o.Stderr, "aegis: checking as %s; the service runs as another user and may get other results; to check as that user: %s\n", socketdir.CurrentUser(), o.RunAs)
	}
	var notServed []target.Entry
	duplicates := false
	if len(o.Names) == 0 {
		var err error
		if o.Names, notServed, err = list(set); err != nil {
			return fmt.Errorf("listing the sockets: %w", adviseRunAs(err, o.RunAs))
		}
		duplicates = warnDuplicateLabels(o.Stderr, set, o.Names)
	}
	c := checker{Options: o, set: set}
	reports := c.checkAll()
	notes := o.Stdout
	if o.JSON {
		notes = o.Stderr
	}
	printNotServed(notes, set.Dir(), notServed, len(reports))
	if err := printReports(o, reports); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	if duplicates || slices.ContainsFunc(reports, func(r report) bool { return r.Error != "" }) {
		return ErrFindings
	}
	return nil
}

// list returns the names of all targets, sorted, and what is not served in the directory.
// Targets that only the targets file has are included: their names may be misspelled.
func list(set *target.Set) (names []string, notServed []target.Entry, err error) {
	entries, err := set.List(context.Background())
	for _, e := range entries {
		if e.Err != nil {
			notServed = append(notServed, e)
		} else {
			names = append(names, e.Name)
		}
	}
	for name, t := range set.File().Targets {
		if !t.Disabled {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), notServed, err
}

// warnDuplicateLabels reports whether two targets have the same labels, and writes a
// warning to w if they have. names are sorted.
func warnDuplicateLabels(w io.Writer, set *target.Set, names []string) bool {
	name, other := set.File().DuplicateLabels(func(name string) bool {
		_, found := slices.BinarySearch(names, name)
		return found
	})
	if other == "" {
		return false
	}
	fmt.Fprintf(w, "aegis: %s and %s have the same labels, so Prometheus takes them for one target; give one of them other labels in the targets file\n", name, other)
	return true
}
