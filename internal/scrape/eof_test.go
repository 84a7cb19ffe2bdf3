package scrape

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A response that is cut short anywhere is an error, unless nobody could tell.
func TestCutAtEveryByte(t *testing.T) {
	const protobuf = "Content-Type: " + protobufType + "\r\n"
	const openMetrics = "Content-Type: " + openMetricsType + "\r\n"
	for name, tt := range map[string]struct {
		head, body string
		valid      []int // shorter lengths of body that are valid, too
	}{
		"length":                       {head: plainType + "Content-Length: 8\r\n\r\n", body: "x 1\ny 2\n"},
		"chunks":                       {head: plainType + chunkedCoding + "\r\n", body: "4\r\nx 1\n\r\n4\r\ny 2\n\r\n0\r\n\r\n"},
		"until EOF, text":              {head: plainType + "\r\n", body: "x 1\ny 2\n", valid: []int{4}},
		"until EOF, OpenMetrics":       {head: openMetrics + "\r\n", body: "x 1\ny 2\n# EOF\n", valid: []int{13}},
		"until EOF, gzip":              {head: plainType + gzipCoding + "\r\n", body: gzipped("x 1\ny 2\n")},
		"until EOF, gzip, protobuf":    {head: protobuf + gzipCoding + "\r\n", body: gzipped("\x03abc")},
		"until EOF, gzip, OpenMetrics": {head: openMetrics + gzipCoding + "\r\n", body: gzipped("# EOF\n")},
	} {
		t.Run(name, func(t *testing.T) {
			complete := okLine + tt.head + tt.body
			c := newClient(t)
			for cut := range len(complete) + 1 {
				s := startService(t, t.TempDir(), respondAndClose(complete[:cut]))
				body, _, err := s.scrape(t, c)
				valid := cut == len(complete) || slices.Contains(tt.valid, cut-len(okLine+tt.head))
				if !valid && !errors.Is(err, ErrTruncated) || valid && err != nil {
					t.Errorf("cut to %q: body %q, error %v", complete[:cut], body, err)
				}
				s.Close()
			}
		})
	}
}

// A body that has to be decompressed to see its end waits for a slot of
// limits.Expensive, but no longer than its scraper.
func TestDecompressionNeedsSlot(t *testing.T) {
	s := startService(t, t.TempDir(), respondAndClose(okLine+plainType+gzipCoding+"\r\n"+gzipped("x 1\n")))
	c := newClient(t)
	for range limits.Expensive.Size() {
		if !limits.Expensive.TryAcquire() {
			t.Fatal("another test uses a slot")
		}
	}
	if _, _, err := scrapeSocket(t.Context(), c, s.socket(t), newRequest(t, 50*time.Millisecond)); !errors.Is(err, ErrBusy) {
		t.Errorf("no slot until the deadline: %v, want %v", err, ErrBusy)
	}

	// The context of a scrape need not end at its deadline.
	onlyDeadline := deadlineContext{t.Context(), time.Now().Add(50 * time.Millisecond)}
	if _, err := c.Do(onlyDeadline, s.socket(t), newRequest(t, time.Minute)); !errors.Is(err, ErrBusy) {
		t.Errorf("no slot until the deadline, which the context only knows: %v, want %v", err, ErrBusy)
	}

	ctx, cancel := context.WithCancel(t.Context())
	for len(s.requests) > 0 {
		<-s.requests
	}
	go func() { <-s.requests; cancel() }()
	if _, _, err := scrapeSocket(ctx, c, s.socket(t), newRequest(t, time.Minute)); !errors.Is(err, ErrCanceled) {
		t.Errorf("the scraper disconnected: %v, want %v", err, ErrCanceled)
	}

	time.AfterFunc(10*time.Millisecond, limits.Expensive.Release)
	if body, _, err := s.scrape(t, c); body != gzipped("x 1\n") || err != nil {
		t.Errorf("a slot becomes free: body %q, %v", body, err)
	}

	// A body that was checked is not checked again when it is written.
	resp, err := c.Do(t.Context(), s.socket(t), newRequest(t, time.Minute))
	if err != nil || !limits.Expensive.TryAcquire() {
		t.Fatal(err)
	}
	defer resp.Close()
	if _, err := resp.WriteTo(io.Discard); err != nil {
		t.Errorf("writing a body that was checked: %v", err)
	}
	for range limits.Expensive.Size() {
		limits.Expensive.Release()
	}
}

// deadlineContext knows its deadline, but does not end then.
type deadlineContext struct {
	context.Context
	deadline time.Time
}

func (c deadlineContext) Deadline() (time.Time, bool) { return c.deadline, true }

func gzipped(text string) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}
