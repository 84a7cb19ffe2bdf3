package web

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/sockdir"
)

// relay answers with the metrics of the service that name means.
func (s *Server) relay(w http.ResponseWriter, r *http.Request, name string) {
	start := time.Now()
	socket, err := s.folder.Lookup(name)
	found, begun, bytes := err == nil, false, int64(0)
	if found {
		begun, bytes, err = s.scrape(w, r, socket)
	}
	o := outcome{at: start, took: time.Since(start), bytes: bytes, result: resultOK}
	status := http.StatusOK
	if err != nil {
		status, o.result = failure(err)
		o.err = err
	}
	known := s.targets.record(name, found, o)
	s.metrics.observe(known, o)
	if s.log.Enabled(r.Context(), slog.LevelDebug) {
		s.log.Debug("scrape", "target", name, "result", o.result, "bytes", o.bytes, "took", o.took, "scraper", r.RemoteAddr)
	}

	switch {
	case err == nil:
	case begun || errors.Is(err, scrape.ErrCanceled):
		abort(w, r)
	case !sockdir.ValidName(name):
		text(w, status, fmt.Sprintf("%.300q: %v", name, err))
	default:
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		text(w, status, fmt.Sprintf("%s: %v", name, err))
	}
}

// scrape relays one scrape of socket. It reports whether the answer to the
// scraper has begun, and how many bytes of body it took.
func (s *Server) scrape(w http.ResponseWriter, r *http.Request, socket sockdir.Socket) (begun bool, bytes int64, err error) {
	req := scrape.NewRequest(r)
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(req.Timeout + limits.AbortGrace))
	a, err := s.client.Get(r.Context(), socket, req)
	if err != nil {
		return false, 0, err
	}
	defer a.Close()
	if r.Method == http.MethodHead {
		// The answer to HEAD, too, says that the whole body is there.
		length, err := a.WriteTo(io.Discard)
		if err == nil {
			writeHead(w, a, length)
		}
		return false, 0, err
	}
	writeHead(w, a, a.Length())
	bytes, err = a.WriteTo(w)
	return true, bytes, err
}

// writeHead writes the head of a whole answer: these fields and no others of
// the service's.
func writeHead(w http.ResponseWriter, a *scrape.Answer, length int64) {
	h := w.Header()
	h["Content-Type"] = []string{a.ContentType}
	if a.ContentEncoding != "" {
		h["Content-Encoding"] = []string{a.ContentEncoding}
	}
	if length >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	w.WriteHeader(http.StatusOK)
}

// abort ends the connection so that the scraper sees its answer fail, never a
// short one that looks whole.
func abort(w http.ResponseWriter, r *http.Request) {
	if r.ProtoAtLeast(1, 1) {
		// The announced length or the last chunk is missing.
		panic(http.ErrAbortHandler)
	}
	// To HTTP/1.0 the end of the connection may be the end of the body; a
	// reset is not.
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
