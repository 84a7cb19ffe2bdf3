package check

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// watcher is a writer that closes seen once text has been written to it.
type watcher struct {
	bytes.Buffer
	text string
	seen chan struct{}
}

func newWatcher(text string) *watcher { return &watcher{text: text, seen: make(chan struct{})} }

func (w *watcher) Write(p []byte) (int, error) {
	had := strings.Contains(w.String(), w.text)
	n, err := w.Buffer.Write(p)
	if !had && strings.Contains(w.String(), w.text) {
		close(w.seen)
	}
	return n, err
}

// A slow service holds back no result of another, and a terminal shows how many are left.
func TestResultsAsTheyCome(t *testing.T) {
	dir := t.TempDir()
	stdout, terminal := newWatcher("\nquick "), newWatcher("1 of 2 checked")
	serve(t, dir, "quick.sock", respond("x 1\n"))
	serve(t, dir, "a.sock", func(w http.ResponseWriter, r *http.Request) {
		for _, seen := range []chan struct{}{stdout.seen, terminal.seen} {
			select {
			case <-seen:
			case <-r.Context().Done():
			}
		}
		respond("x 1\n")(w, r)
	})
	o := Options{Stdout: stdout, Stderr: &bytes.Buffer{}, Terminal: terminal, Timeout: 60e9}
	if err := Run(newSet(dir, targetsfile.File{}), o); err != nil {
		t.Errorf("%v:\n%s%s", err, stdout, terminal)
	}
	if rows := stdout.String(); strings.Index(rows, "quick") > strings.Index(rows, "a  ") {
		t.Errorf("the quick one is not first:\n%s", rows)
	}
}
