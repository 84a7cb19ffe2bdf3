package web

import (
	"errors"
	"net/http"
	"strings"

	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// Results of a scrape, as the label of that name has them.
const (
	resultOK       = "ok"
	resultNotFound = "not_found"
	resultBusy     = "busy"
	// These are the scraper's doing.
	resultCanceled  = "canceled"
	resultForbidden = "forbidden"
)

// failures is the one place where an error becomes a status and a result. A
// reader of the program needs no other; a caller of Aegis sees no other.
var failures = []struct {
	err    error
	status int
	result string
}{
	{socketdir.ErrNotFound, http.StatusNotFound, resultNotFound},
	{socketdir.ErrNotSocket, http.StatusBadGateway, "not_socket"},
	{socketdir.ErrRefused, http.StatusBadGateway, "refused"},
	{socketdir.ErrDenied, http.StatusBadGateway, "denied"},
	{socketdir.ErrNoDirectory, http.StatusServiceUnavailable, "no_folder"},
	{socketdir.ErrBusy, http.StatusServiceUnavailable, resultBusy},
	{scrape.ErrTooMany, http.StatusServiceUnavailable, resultBusy},
	{socketdir.ErrTimeout, http.StatusGatewayTimeout, "timeout"},
	{scrape.ErrTimeout, http.StatusGatewayTimeout, "timeout"},
	{scrape.ErrInvalid, http.StatusBadGateway, "invalid"},
	{scrape.ErrTruncated, http.StatusBadGateway, "truncated"},
	{scrape.ErrStatus, http.StatusBadGateway, "status"},
	{scrape.ErrNotMetrics, http.StatusBadGateway, "not_metrics"},
	{errForbidden, http.StatusForbidden, resultForbidden},
	{errOldHTTP, http.StatusHTTPVersionNotSupported, resultCanceled},
	// Nobody is left to see a status.
	{scrape.ErrCanceled, http.StatusGatewayTimeout, resultCanceled},
}

// Result returns the result that err, of a failed scrape, is counted as.
func Result(err error) string {
	_, result := failure(err)
	return result
}

// failure returns the status and result that err stands for.
func failure(err error) (status int, result string) {
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return f.status, f.result
		}
	}
	return http.StatusBadGateway, "invalid"
}

// Why returns what err, of an entry that is not served, says beside the short reason
// that it is an instance of: where that stands in a list of such, it tells nothing.
func Why(err error) string {
	return strings.TrimPrefix(err.Error(), cause(err).Error()+": ")
}

// cause returns the short reason that err is an instance of.
func cause(err error) error {
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return f.err
		}
	}
	return err
}
