// Package target knows which targets there are and how each of them does.
//
// A target is a socket in the directory, or one that the targets file names elsewhere.
// Set.Get turns a name into a Target, a handle that carries the target's settings and its
// record; the scrape and everything recorded about it go through that handle.
//
// Errors of a scrape become results here (ResultOf). The record feeds the log, the status
// line, the page for people and the metrics of scrapes.
package target
