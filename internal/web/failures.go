package web

import (
	"errors"
	"fmt"
	"net/http"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
)

// writeFailure responds with one line that says why the scrape failed and what to do.
func writeFailure(w http.ResponseWriter, name string, outcome target.Outcome) {
	line := outcome.Err.Error()
	if outcome.Result == target.NotFound {
		line += target.Suggest(name)
	}
	if socketdir.ValidName(name) {
		line = name + ": " + line
	} else {
		line = fmt.Sprintf("%.300q: %s", name, line)
	}
	if status := statusOf(outcome); status != http.StatusServiceUnavailable {
		writeText(w, status, line)
		return
	}
	writeBusy(w, line)
}

// statusOf is the one place where the result of a scrape that failed becomes a status.
func statusOf(outcome target.Outcome) int {
	if errors.Is(outcome.Err, target.ErrHTTP10) {
		return http.StatusHTTPVersionNotSupported
	}
	switch outcome.Result {
	case target.NotFound:
		return http.StatusNotFound
	case target.Forbidden:
		return http.StatusForbidden
	case target.NoDirectory, target.Busy:
		return http.StatusServiceUnavailable
	case target.Timeout, target.Canceled: // Nobody is left to see that of Canceled.
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// writeBusy responds with 503: the same request may succeed in a second.
func writeBusy(w http.ResponseWriter, line string) {
	w.Header().Set("Retry-After", "1")
	writeText(w, http.StatusServiceUnavailable, line)
}

// writeText responds with one line for people.
func writeText(w http.ResponseWriter, status int, line string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write([]byte(line + "\n"))
}
