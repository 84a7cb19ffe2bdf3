package main

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/systemd"
)

// neverWaits is a writer of lines, for who must not wait until they are read: a
// scrape is not to hang because a journal, or a pager, does. A line that finds
// limits.MaxLogQueue before it is lost, and those lost are counted in a line.
type neverWaits struct {
	to      io.Writer
	lines   chan []byte
	lost    atomic.Int64
	pending atomic.Int64 // lines that are not yet written
}

func newNeverWaits(to io.Writer) *neverWaits {
	w := &neverWaits{to: to, lines: make(chan []byte, limits.MaxLogQueue)}
	go w.write()
	return w
}

// Write takes p, which is a line, and never fails.
func (w *neverWaits) Write(p []byte) (int, error) {
	w.pending.Add(1)
	select {
	case w.lines <- bytes.Clone(p):
	default:
		w.pending.Add(-1)
		w.lost.Add(1)
	}
	return len(p), nil
}

// write writes the lines: the first at once, and those of each limits.LogBatchDelay after
// that together, as a write costs as much as a scrape.
func (w *neverWaits) write() {
	for line := range w.lines {
		n := int64(1)
		more := true
		for more && len(line) < limits.MaxLogBatchSize {
			select {
			case next := <-w.lines:
				line = append(line, next...)
				n++
			default:
				more = false
			}
		}
		w.to.Write(line)
		if lost := w.lost.Swap(0); lost > 0 {
			fmt.Fprintf(w.to, "%saegis: %d lines of the log are lost here, as nobody read it in time\n", journalPrefix("<4>"), lost)
		}
		w.pending.Add(-n)
		if !more {
			time.Sleep(limits.LogBatchDelay)
		}
	}
}

// flush waits until all is written, for most.
func (w *neverWaits) flush(most time.Duration) {
	wait(most, func() bool { return w.pending.Load() == 0 })
}

// journalPrefix is level as the journal reads it, where standard error goes there.
func journalPrefix(level string) string {
	if systemd.StderrIsJournal() {
		return level
	}
	return ""
}
