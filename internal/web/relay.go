package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/target"
)

// relay responds with the metrics of the target called name.
func (s *Server) relay(w http.ResponseWriter, r *http.Request, name string) {
	t := s.targets.Get(name)
	req := t.Request(r)
	ctx := &deadlineContext{r.Context(), time.Now().Add(req.Timeout)}
	http.NewResponseController(w).SetWriteDeadline(ctx.deadline.Add(limits.ErrorWriteTimeout))
	headerSent := false
	outcome := t.Scrape(ctx, r, req, func(response *scrape.Response) (int64, error) {
		if r.Method == http.MethodHead {
			return 0, respondToHead(w, response)
		}
		if response.Length() < 0 && !r.ProtoAtLeast(1, 1) {
			return 0, fmt.Errorf("%w, and this one is larger than %d KiB; use HTTP/1.1 "+
				"(in nginx, proxy_http_version 1.1)", target.ErrHTTP10, limits.MaxBufferedBody>>10)
		}
		headerSent = true
		writeHeader(w, response, response.Length())
		return response.WriteTo(w)
	})
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.Debug("scrape", "target", name, "result", string(outcome.Result), "bytes", outcome.Bytes,
			"duration", outcome.Duration, "scraper", r.RemoteAddr)
	}
	switch {
	case outcome.Err == nil:
	case headerSent || errors.Is(outcome.Err, scrape.ErrCanceled):
		// Without the rest of its length, or the last chunk, the client does not take the response for complete.
		panic(http.ErrAbortHandler)
	default:
		writeFailure(w, name, outcome)
	}
}

// respondToHead reads the whole body before it responds: a response to HEAD, too, says that the body is complete.
func respondToHead(w http.ResponseWriter, response *scrape.Response) error {
	length, err := response.WriteTo(io.Discard)
	if err == nil {
		writeHeader(w, response, length)
	}
	return err
}

// writeHeader writes the header of a complete response: these fields, and no others that the service sent.
func writeHeader(w http.ResponseWriter, response *scrape.Response, length int64) {
	h := w.Header()
	values := []string{response.ContentType, response.ContentEncoding, ""} // one allocation for all
	h["Content-Type"] = values[:1:1]
	if response.ContentEncoding != "" {
		h["Content-Encoding"] = values[1:2:2]
	}
	if length >= 0 {
		values[2] = strconv.FormatInt(length, 10)
		h["Content-Length"] = values[2:3:3]
	}
	w.WriteHeader(http.StatusOK)
}

// deadlineContext is the context of a scrape. It knows its deadline, but its Done channel is only closed when
// the client hangs up: packages socketdir and scrape watch the clock themselves, since most scrapes take less
// time than a timer costs.
type deadlineContext struct {
	context.Context // of the request
	deadline        time.Time
}

// Deadline returns the deadline of the scrape.
func (c *deadlineContext) Deadline() (time.Time, bool) { return c.deadline, true }
