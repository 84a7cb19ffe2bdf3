package web

import (
	"context"
	"time"
)

// scrapeContext is the context of a scrape. It knows its deadline and leaves it
// to who waits to watch the clock, as the folder and the scrape do: most scrapes
// take less time than a timer is worth.
type scrapeContext struct {
	context.Context // of the request
	deadline        time.Time
}

// Deadline returns when who works for this context has to stop.
func (c *scrapeContext) Deadline() (time.Time, bool) { return c.deadline, true }

// AfterFunc is what context.AfterFunc asks for: it calls f when the scraper hangs
// up.
func (c *scrapeContext) AfterFunc(f func()) (stop func() bool) {
	if own, ok := c.Context.(interface{ AfterFunc(func()) func() bool }); ok {
		return own.AfterFunc(f)
	}
	return context.AfterFunc(c.Context, f)
}
