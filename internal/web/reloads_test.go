package web

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// watch watches a until the test ends, and returns its status lines.
func (a *aegis) watch() <-chan string {
	lines := make(chan string, 100)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Watch(ctx, func(line string) { lines <- line })
	}()
	a.t.Cleanup(func() { cancel(); <-ended })
	return lines
}

// A broken file leaves the previous one in use, and the metrics, the page and the status line
// say so; those that any client may read do not quote it.
func TestBrokenFile(t *testing.T) {
	a := start(t)
	a.service("svc", oneSample)
	a.setTargets(map[string]targetsfile.Target{"svc": {Disabled: true}})
	const successful = `aegis_config_last_reload_successful{file="targets"}`
	if got := a.metric(successful); got != "" {
		t.Errorf("%s %q without a file, want none", successful, got)
	}
	a.SetReloadError("targets", nil)
	if got := a.metric(successful); got != "1" || strings.Contains(a.get("/").body, "broken") {
		t.Errorf("%s %q, want 1, and no alert on the page", successful, got)
	}
	for _, tt := range []struct {
		err          error
		series, page string
	}{
		{errors.New("secret"), `aegis_config_reload_error_info{file="targets",line="",reason="invalid"}`, "The targets file is broken, so"},
		{fmt.Errorf("secret: %w", &targetsfile.Fault{Reason: targetsfile.WrongValue, Line: 3}), `aegis_config_reload_error_info{file="targets",line="3",reason="wrong_value"}`, "The targets file is broken in line 3, so"},
	} {
		a.SetReloadError("targets", tt.err)
		if got := a.metric(successful); got != "0" || a.metric(tt.series) != "1" {
			t.Errorf("%s %q, %s %q; want 0, 1", successful, got, tt.series, a.metric(tt.series))
		}
		if page := a.get("/").body; !strings.Contains(page, tt.page) || strings.Contains(page, "secret") {
			t.Errorf("the page lacks %q, or has the words of the file:\n%s", tt.page, page)
		}
		if strings.Contains(a.get("/metrics").body, "secret") {
			t.Error("the metrics have the words of the file")
		}
	}
	if got := a.get("/svc"); got.StatusCode != 404 {
		t.Errorf("with a broken file: %d, want the 404 of the previous one", got.StatusCode)
	}
	if got := <-a.watch(); !strings.Contains(got, "reloading the targets file failed") || !strings.Contains(got, "secret") || !strings.HasPrefix(got, "0 sockets in "+a.dir) {
		t.Errorf("status %q, want the sockets and the error", got)
	}
	a.SetReloadError("web", nil)
	a.setTargets(nil)
	a.SetReloadError("targets", nil)
	if got := a.get("/svc"); got.StatusCode != 200 || a.metric(successful) != "1" || strings.Contains(a.get("/metrics").body, "error_info{") {
		t.Errorf("with a valid file: %d, %s %q; want 200, 1", got.StatusCode, successful, a.metric(successful))
	}
}

// Each file has its own metrics, its own alert and its own part of the status line.
func TestBrokenFiles(t *testing.T) {
	a := start(t)
	a.SetReloadError("targets", errors.New("oh no"))
	a.SetReloadError("web", errors.New("oh dear"))
	page := a.get("/").body
	for _, file := range []string{"targets", "web"} {
		if !strings.Contains(page, "The "+file+" file is broken") {
			t.Errorf("the page does not say that the %s file is broken", file)
		}
		if got := a.metric(`aegis_config_last_reload_successful{file="` + file + `"}`); got != "0" {
			t.Errorf("%s: %q, want 0", file, got)
		}
	}
	if got := <-a.watch(); !strings.Contains(got, "oh no") || !strings.Contains(got, "oh dear") {
		t.Errorf("status %q lacks an error", got)
	}
}

// A change is reported without waiting for the next reconciliation.
func TestWatchReportsChanges(t *testing.T) {
	a := start(t)
	a.service("svc", oneSample)
	lines := a.watch()
	status := "1 socket in " + a.dir + "; "
	if got, want := <-lines, status+"0 fine; 1 not scraped yet"; got != want {
		t.Errorf("at start %q, want %q", got, want)
	}
	begin := time.Now()
	a.get("/svc")
	if got, want := <-lines, status+"1 fine"; got != want {
		t.Errorf("after a scrape %q, want %q", got, want)
	}
	a.SetReloadError("web", errors.New("oh no"))
	if got := <-lines; !strings.HasPrefix(got, status+"1 fine; ") || !strings.Contains(got, "oh no") {
		t.Errorf("after a failed reload %q", got)
	}
	if took := time.Since(begin); took >= limits.ReconcileInterval {
		t.Errorf("two changes were reported after %v", took)
	}
}
