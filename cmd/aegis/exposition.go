package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"google.golang.org/protobuf/encoding/protodelim"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

// exposition is what a service answered. It keeps of the body what is written to
// it, up to limits.MaxCheckBody.
type exposition struct {
	contentType, encoding string
	body                  []byte
	size                  int // also of what is not kept
}

// Write keeps p, if there is room.
func (e *exposition) Write(p []byte) (int, error) {
	e.size += len(p)
	if e.size <= limits.MaxCheckBody {
		e.body = append(e.body, p...)
	}
	return len(p), nil
}

var errTooLarge = fmt.Errorf("it came whole, but only %d MiB are parsed here", limits.MaxCheckBody>>20)

// counted is how many samples an exposition has.
type counted struct {
	series   int // the first of each
	repeated int // of a series that had one, with no time of its own: Prometheus drops it
}

// parse returns the samples of e, as Prometheus itself takes them: its own
// parsers read the text formats. The error wraps scrape.ErrNotMetrics or
// errTooLarge.
func (e *exposition) parse() (found counted, err error) {
	if e.size > limits.MaxCheckBody {
		return counted{}, errTooLarge
	}
	if err := e.unpack(); err != nil {
		return counted{}, err
	}
	switch e.format() {
	case expfmt.TypeProtoDelim:
		found.series, err = countProtobuf(e.body)
	case expfmt.TypeOpenMetrics:
		found, err = countText(e.body, "# EOF\n", func(text []byte) textparse.Parser {
			return textparse.NewOpenMetricsParser(text, labels.NewSymbolTable())
		})
	default:
		found, err = countText(e.body, "", func(text []byte) textparse.Parser {
			return textparse.NewPromParser(text, labels.NewSymbolTable(), false)
		})
	}
	if err != nil {
		return counted{}, fmt.Errorf("%w: %w", scrape.ErrNotMetrics, err)
	}
	return found, nil
}

func (e *exposition) format() expfmt.FormatType {
	if strings.HasPrefix(strings.ToLower(e.contentType), "application/openmetrics-text") {
		return expfmt.TypeOpenMetrics
	}
	return expfmt.ResponseFormat(http.Header{"Content-Type": {e.contentType}}).FormatType()
}

// countText returns the samples that there are in body, of which the last line is
// end. The error names the line that is wrong, if one is.
func countText(body []byte, end string, parser func(text []byte) textparse.Parser) (found counted, err error) {
	found, err = count(parser(body))
	if err == nil {
		return found, nil
	}
	// The parsers say not where they are, but no line depends on another.
	i := 0
	for line := range bytes.SplitSeq(bytes.TrimSuffix(body, []byte("\n")), []byte("\n")) {
		i++
		if string(line)+"\n" == end {
			continue
		}
		alone := append(slices.Clone(line), "\n"+end...)
		if _, wrong := count(parser(alone)); wrong != nil {
			return found, lineError(i, string(line), wrong)
		}
	}
	return found, err
}

// lineError is err, of line i of an exposition, in words for who wrote the service.
func lineError(i int, line string, err error) error {
	says, _, _ := strings.Cut(err.Error(), " while parsing: ")
	var number *strconv.NumError
	switch {
	case strings.HasSuffix(line, "\r"):
		says = "it ends in CR LF, and lines of metrics end in LF"
	case errors.As(err, &number):
		says = fmt.Sprintf("%q is no number", number.Num)
	}
	return fmt.Errorf("line %d: %s, in %.200q", i, says, line)
}

// count returns the samples that p finds. As Prometheus, it takes no label twice.
func count(p textparse.Parser) (found counted, err error) {
	var series labels.Labels
	known := make(map[uint64]bool)
	for {
		switch entry, err := p.Next(); {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return found, err
		case entry == textparse.EntrySeries:
			p.Labels(&series)
			hash := series.Hash()
			if !known[hash] {
				known[hash] = true
				found.series++
			} else if _, at, _ := p.Series(); at == nil {
				found.repeated++
			}
			if name, twice := series.HasDuplicateLabelNames(); twice {
				return found, fmt.Errorf("the label %q is there twice in %s", name, series)
			}
		}
	}
}

// countProtobuf returns how many lines body would have in the text format. expfmt
// would believe any length that it announces.
func countProtobuf(body []byte) (samples int, err error) {
	source, options := bytes.NewReader(body), protodelim.UnmarshalOptions{MaxSize: limits.MaxCheckBody}
	for {
		var f dto.MetricFamily
		if err := options.UnmarshalFrom(source, &f); err == io.EOF {
			return samples, nil
		} else if err != nil {
			return samples, err
		}
		for _, m := range f.GetMetric() {
			samples += samplesOf(m)
		}
	}
}

// unpack takes the encoding off the body: some services gzip unasked. The error
// wraps scrape.ErrNotMetrics or errTooLarge.
func (e *exposition) unpack() error {
	switch strings.ToLower(e.encoding) {
	case "", "identity":
		return nil
	case "gzip":
	default:
		return fmt.Errorf("%w: Content-Encoding is %q, and Prometheus knows gzip only", scrape.ErrNotMetrics, e.encoding)
	}
	r, err := gzip.NewReader(bytes.NewReader(e.body))
	if err != nil {
		return fmt.Errorf("%w: unpacking: %w", scrape.ErrNotMetrics, err)
	}
	body, err := io.ReadAll(io.LimitReader(r, limits.MaxCheckBody+1))
	switch {
	case len(body) > limits.MaxCheckBody:
		return errTooLarge
	case err != nil:
		return fmt.Errorf("%w: unpacking: %w", scrape.ErrNotMetrics, err)
	}
	e.body, e.encoding = body, ""
	return nil
}

// samplesOf returns how many lines m takes in the text format.
func samplesOf(m *dto.Metric) int {
	switch {
	case m.Histogram != nil:
		n := len(m.Histogram.Bucket)
		if n == 0 || !math.IsInf(m.Histogram.Bucket[n-1].GetUpperBound(), 1) {
			n++ // The last bucket may go without saying.
		}
		return n + 2
	case m.Summary != nil:
		return len(m.Summary.Quantile) + 2
	default:
		return 1
	}
}

// lint returns what promlint says of e, which was parsed.
func (e *exposition) lint() (problems []problem) {
	if e.format() != expfmt.TypeTextPlain && e.format() != expfmt.TypeUnknown {
		return []problem{{Text: "not linted: promlint reads text only"}}
	}
	body := e.body
	if len(body) > limits.MaxLintBody {
		return []problem{{Text: fmt.Sprintf("not linted: it is larger than %d MiB", limits.MaxLintBody>>20)}}
	}
	if len(body) > 0 && !bytes.HasSuffix(body, []byte("\n")) {
		problems = append(problems, problem{Text: "its last line has no end; a line feed belongs there"})
		body = append(slices.Clone(body), '\n')
	}
	found, err := promlint.New(bytes.NewReader(body)).Lint()
	if err != nil {
		return append(problems, problem{Text: "not linted: " + err.Error()})
	}
	for _, p := range found {
		problems = append(problems, problem(p))
	}
	return problems
}
