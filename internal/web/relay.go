package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"tulpa.dev/cadey/aegis/internal/http1"
	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// relay answers with the metrics of the service that name means.
func (s *Server) relay(w http.ResponseWriter, r *http.Request, name string) {
	start := time.Now()
	target := s.catalog.Target(name)
	req := scrape.NewRequest(r).To(target)
	scraper := r.Context()
	if c, ok := scraper.Value(connKey{}).(net.Conn); ok && r.ProtoMajor < 2 {
		var stop func()
		scraper, stop = http1.Watch(scraper, c)
		defer stop()
	}
	ctx := &scrapeContext{scraper, start.Add(req.Timeout)}
	http.NewResponseController(w).SetWriteDeadline(start.Add(req.Timeout + limits.ErrorWriteTimeout))

	o := outcome{at: start, result: resultOK, head: r.Method == http.MethodHead}
	var socket socketdir.Socket
	err := s.admit(ctx, r, target, req.Timeout/2)
	if err == nil {
		defer s.scrapes.leave()
		socket, err = s.find(ctx, name, target)
	}
	found := err == nil
	var sent transfer
	if found {
		sent.counted = s.targets.lastCount(name)
		err = s.scrape(ctx, w, r, socket, req, &sent)
	}
	o.took, o.bytes = time.Since(start), sent.bytes
	if sent.census != nil {
		o.counted = err == nil
		o.series = sent.census.end(o.counted)
	}
	status := http.StatusOK
	if err != nil {
		status, o.result = failure(err)
		o.err = err
	}
	s.metrics.observe(s.targets.record(name, found, o), o)
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.Debug("scrape", "target", name, "result", o.result, "bytes", o.bytes, "took", o.took, "scraper", r.RemoteAddr)
	}

	if o.result == resultNotFound {
		err = fmt.Errorf("%w%s", err, Hint(name))
	}
	switch {
	case err == nil:
	case sent.begun || errors.Is(err, scrape.ErrCanceled):
		// The announced length or the last chunk is missing, so the scraper sees
		// its answer fail, never a short one that looks whole.
		panic(http.ErrAbortHandler)
	case !socketdir.ValidName(name):
		text(w, status, fmt.Sprintf("%.300q: %v", name, err))
	default:
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		text(w, status, fmt.Sprintf("%s: %v", name, err))
	}
}

// admit takes a place for one more scrape, if r's sender may see t. When a host
// stood still for a moment, all that was due in it comes at once; so who finds no
// place waits for one, but not longer than patience.
func (s *Server) admit(ctx context.Context, r *http.Request, t targetsfile.Target, patience time.Duration) error {
	if err := permit(t, r); err != nil {
		return err
	}
	if s.scrapes.enter(ctx, min(limits.QueueTimeout, patience)) {
		return nil
	}
	if ctx.Err() != nil {
		return scrape.ErrCanceled
	}
	if n, due := s.refused.Allow(); due {
		s.log.Warn("scrapes are refused: as many as may be are under way already", "most", limits.MaxScrapes, "refused", n)
	}
	return fmt.Errorf("%w: Aegis has %d under way already", scrape.ErrTooMany, limits.MaxScrapes)
}

// find looks name up.
func (s *Server) find(ctx context.Context, name string, t targetsfile.Target) (socketdir.Socket, error) {
	socket, err := s.catalog.Find(ctx, name, t)
	if errors.Is(err, socketdir.ErrTimeout) && errors.Is(ctx.Err(), context.Canceled) {
		err = scrape.ErrCanceled
	}
	return socket, err
}

// errOldHTTP is the scraper's failing, not the service's.
var errOldHTTP = fmt.Errorf("HTTP/1.0 cannot tell a body that broke from one that is whole, and this one is larger than %d KiB and of no announced length; ask with HTTP/1.1 (in nginx, proxy_http_version 1.1)", limits.MaxBufferedBody>>10)

// transfer is how far the answer to the scraper has come.
type transfer struct {
	counted lastCount // its series, when that was last done
	census  *census   // which counts them now; may be nil
	begun   bool
	bytes   int64 // of body
}

// scrape relays one scrape of socket, and notes in sent how far that came.
func (s *Server) scrape(ctx *scrapeContext, w http.ResponseWriter, r *http.Request, socket socketdir.Socket, req scrape.Request, sent *transfer) error {
	a, err := s.client.Get(ctx, socket, req)
	if err != nil {
		return err
	}
	defer a.Close()
	switch {
	case r.Method == http.MethodHead:
		// The answer to HEAD, too, says that the whole body is there.
		length, err := a.WriteTo(io.Discard)
		if err == nil {
			writeHead(w, a, length)
		}
		return err
	case a.Length() < 0 && !r.ProtoAtLeast(1, 1):
		return errOldHTTP
	}
	body := io.Writer(w)
	if sent.counted.due(time.Now(), a.Length()) {
		if sent.census = s.newCensus(a, w); sent.census != nil {
			body = sent.census
		}
	}
	sent.begun = true
	writeHead(w, a, a.Length())
	sent.bytes, err = a.WriteTo(body)
	return err
}

// writeHead writes the head of a whole answer: these fields and no others of
// the service's.
func writeHead(w http.ResponseWriter, a *scrape.Response, length int64) {
	h := w.Header()
	values := []string{a.ContentType, a.ContentEncoding, ""}
	h["Content-Type"] = values[:1:1]
	if a.ContentEncoding != "" {
		h["Content-Encoding"] = values[1:2:2]
	}
	if length >= 0 {
		values[2] = strconv.FormatInt(length, 10)
		h["Content-Length"] = values[2:3:3]
	}
	w.WriteHeader(http.StatusOK)
}
