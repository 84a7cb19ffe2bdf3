package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/systemd"
)

// parseLevel returns the level that -log.level names.
func parseLevel(name string) (slog.Level, error) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(name, level.String()) {
			return level, nil
		}
	}
	return 0, errors.New("use debug, info, warn or error")
}

// newLogger returns a logger that writes slog's text format to w. For the journal, each line
// begins with a syslog priority (sd-daemon(3)) instead of time and level.
func newLogger(w io.Writer, level slog.Level, journal bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if journal {
		w = journalWriter{w}
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, options))
}

var syslogPriorities = map[string]string{
	"level=DEBUG": "<7>",
	"level=INFO":  "<6>",
	"level=WARN":  "<4>",
	"level=ERROR": "<3>",
}

// journalWriter replaces the level at the beginning of each line by its syslog priority.
type journalWriter struct{ w io.Writer }

func (j journalWriter) Write(line []byte) (int, error) {
	level, rest, _ := bytes.Cut(line, []byte(" "))
	if _, err := j.w.Write(append([]byte(syslogPriorities[string(level)]), rest...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// journalPrefix returns priority if standard error goes to the journal, else nothing.
func journalPrefix(priority string) string {
	if systemd.StderrIsJournal() {
		return priority
	}
	return ""
}

// asyncWriter writes lines in the background: a scrape must not hang because the journal, or a
// pager, does not read. While limits.MaxLogQueue lines wait, it drops further ones; then it
// writes how many it has dropped.
type asyncWriter struct {
	to      io.Writer
	lines   chan []byte
	pending atomic.Int64 // lines that are not written yet
	dropped atomic.Int64
}

func newAsyncWriter(to io.Writer) *asyncWriter {
	w := &asyncWriter{to: to, lines: make(chan []byte, limits.MaxLogQueue)}
	go func() {
		for line := range w.lines {
			w.to.Write(line)
			if n := w.dropped.Swap(0); n > 0 {
				fmt.Fprintf(w.to, "%saegis: %d log lines were dropped here, because nothing read them in time\n",
					journalPrefix("<4>"), n)
			}
			w.pending.Add(-1)
		}
	}()
	return w
}

// Write queues p, which is one line. It never fails or waits.
func (w *asyncWriter) Write(p []byte) (int, error) {
	w.pending.Add(1)
	select {
	case w.lines <- bytes.Clone(p):
	default:
		w.pending.Add(-1)
		w.dropped.Add(1)
	}
	return len(p), nil
}

// flush waits until all lines are written, for timeout at most.
func (w *asyncWriter) flush(timeout time.Duration) {
	for end := time.Now().Add(timeout); w.pending.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}
