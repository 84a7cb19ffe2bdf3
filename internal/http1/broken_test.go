package http1_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// A client sees that a response is not complete.
func TestBrokenResponses(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"panic": func(w http.ResponseWriter, r *http.Request) { panic("on purpose") },
		"abort": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"abort after a chunk": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Repeat("x", 10_000))
			panic(http.ErrAbortHandler)
		},
		"shorter than its length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10000")
			io.WriteString(w, strings.Repeat("x", 9999))
		},
		"nothing of its length": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "1") },
		"longer than its length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3")
			if _, err := io.WriteString(w, "four"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("writing too much: %v", err)
			}
		},
		"invalid length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "one")
			io.WriteString(w, "x")
		},
		"incomplete chunk, then a chunk": func(w http.ResponseWriter, r *http.Request) {
			splice(w, "1")
			w.(splicer).Expect(100)
			pour(w.(splicer), "x\r\n0\r\n\r\n")
			splice(w, "1")
		},
		"incomplete chunk": func(w http.ResponseWriter, r *http.Request) {
			w.(splicer).Expect(3)
			pour(w.(splicer), "x")
		},
		"write instead of splice": func(w http.ResponseWriter, r *http.Request) {
			w.(splicer).Expect(3)
			if _, err := io.WriteString(w, strings.Repeat("x", 10_000)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("writing in a chunk: %v", err)
			}
		},
		"expected more than its length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3")
			if err := w.(splicer).Expect(4); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("expecting too much: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, serve(t, handler))
			if got := c.send(fastRequest); got.err == nil || errors.Is(got.err, os.ErrDeadlineExceeded) {
				t.Errorf("status %d, error %v; want an incomplete response", got.status, got.err)
			}
			if _, err := c.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection is still open (%v)", err)
			}
		})
	}
}
