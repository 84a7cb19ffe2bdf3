package page

import (
	"time"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
)

// row is a target as the page shows it.
type row struct {
	*target.Snapshot
	socketdir.Ownership
	asOf time.Time
}

// Scraped reports whether the target was scraped.
func (r row) Scraped() bool { return scraped(r.Snapshot) }

// HasDetail reports whether the row has a second line: why the target fails, a note, or a
// failure that is over.
func (r row) HasDetail() bool { return r.Err != nil || r.Note() != nil || r.HasRecovered() }

// Note returns why the last scrape failed if that says nothing about the service, else nil.
func (r row) Note() error {
	if r.Last.ReflectsService() {
		return nil
	}
	return r.Last.Err
}

// HasRecovered reports whether the target is fine and has failed before.
func (r row) HasRecovered() bool { return r.State == target.Fine && r.LastFailure.Err != nil }

// Age returns how long t was before the content was read.
func (r row) Age(t time.Time) moment {
	return moment{t.UTC().Format(time.RFC3339), formatAge(r.asOf.Sub(t))}
}

// Ago returns the same with "ago" after it.
func (r row) Ago(t time.Time) moment {
	m := r.Age(t)
	m.Text += " ago"
	return m
}

// moment is a time as programs read it and as people do.
type moment struct{ RFC3339, Text string }
