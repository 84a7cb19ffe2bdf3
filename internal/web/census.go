package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"runtime"
	"strings"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

// census counts the series of an exposition on its way to the scraper. That
// costs more than passing it on, so a target has one only now and then.
type census struct {
	to      io.Writer
	lines   lines
	kind    kind
	packed  bytes.Buffer // what is to be unpacked
	running *atomic.Int32
}

// kind is in which way series are counted.
type kind int

const (
	uncountable kind = iota // protobuf, or an encoding other than gzip
	plain
	gzipped
)

// uncounted is the number of series of an exposition in which they cannot be
// counted.
const uncounted = -1

// newCensus returns a census of a on its way to w, nil if there are enough under
// way. It has to end.
func (s *Server) newCensus(a *scrape.Response, w io.Writer) *census {
	if s.censuses.Add(1) > limits.Censuses {
		s.censuses.Add(-1)
		return nil
	}
	return &census{to: w, kind: kindOf(a.ContentType, a.ContentEncoding), running: &s.censuses}
}

func kindOf(contentType, encoding string) kind {
	media, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case "text/plain", "application/openmetrics-text":
	default:
		return uncountable
	}
	switch strings.ToLower(encoding) {
	case "", "identity":
		return plain
	case "gzip":
		return gzipped
	}
	return uncountable
}

// Write passes p on.
func (c *census) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	switch {
	case c.kind == plain:
		c.lines.Write(p[:n])
	case c.kind == gzipped && c.packed.Len()+n <= limits.MaxBufferedBody:
		c.packed.Write(p[:n])
	case c.kind == gzipped:
		c.kind, c.packed = uncountable, bytes.Buffer{}
	}
	return n, err
}

// end returns how many series there were, or uncounted; whole says whether all of
// them came. To unpack them takes time: the scraper is to have its answer by now.
func (c *census) end(whole bool) int {
	defer c.running.Add(-1)
	if !whole {
		return uncounted
	}
	if c.kind == gzipped {
		c.unpack()
	}
	if c.kind == uncountable {
		return uncounted
	}
	return c.lines.count()
}

func (c *census) unpack() {
	unpacked, err := gzip.NewReader(&c.packed)
	if err == nil {
		var n int64
		n, err = io.Copy(&c.lines, io.LimitReader(unpacked, limits.MaxDecompressed))
		if n == limits.MaxDecompressed {
			err = io.ErrShortBuffer
		}
	}
	if err != nil {
		c.kind = uncountable
	}
}

// lines counts the lines written to it that are neither empty nor comments: in
// the text formats, each is a series.
type lines struct {
	series  int
	within  bool // a line has begun
	comment bool // that begins with #
}

// Write counts the lines that end in p. Others have their turn before: what is unpacked
// comes in pieces, and is far more than was sent.
func (l *lines) Write(p []byte) (int, error) {
	runtime.Gosched()
	for rest := p; len(rest) > 0; {
		if !l.within {
			l.within, l.comment = rest[0] != '\n', rest[0] == '#'
		}
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		if l.within && !l.comment {
			l.series++
		}
		l.within, rest = false, rest[end+1:]
	}
	return len(p), nil
}

// count returns how many series there were, the last line included that has no
// end.
func (l *lines) count() int {
	if l.within && !l.comment {
		return l.series + 1
	}
	return l.series
}
