package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

// exposition is what a service answered. It keeps of the body what is written to
// it, up to limits.Checked.
type exposition struct {
	contentType, encoding string
	body                  []byte
	size                  int // also of what is not kept
}

// Write keeps p, if there is room.
func (e *exposition) Write(p []byte) (int, error) {
	e.size += len(p)
	if e.size <= limits.Checked {
		e.body = append(e.body, p...)
	}
	return len(p), nil
}

var errTooLarge = fmt.Errorf("it came whole, but only %d MiB are parsed here", limits.Checked>>20)

// parsed is the metrics of an exposition.
type parsed struct {
	samples  int
	families []*dto.MetricFamily // nil for OpenMetrics
	open     bool                // it is OpenMetrics
}

// parse returns the metrics of e. The error wraps scrape.ErrNotMetrics or
// errTooLarge.
func (e *exposition) parse() (parsed, error) {
	if e.size > limits.Checked {
		return parsed{}, errTooLarge
	}
	body, err := e.unpacked()
	if errors.Is(err, errTooLarge) {
		return parsed{}, err
	}
	var m parsed
	if err == nil {
		if strings.HasPrefix(strings.ToLower(e.contentType), "application/openmetrics-text") {
			m, err = parseOpenMetrics(body)
		} else {
			m, err = parseFamilies(e.contentType, body)
		}
	}
	if err != nil {
		return parsed{}, fmt.Errorf("%w: %w", scrape.ErrNotMetrics, err)
	}
	return m, nil
}

// unpacked returns the body without its encoding: some services gzip unasked.
func (e *exposition) unpacked() ([]byte, error) {
	switch strings.ToLower(e.encoding) {
	case "", "identity":
		return e.body, nil
	case "gzip":
	default:
		return nil, fmt.Errorf("Content-Encoding is %q, and Prometheus knows gzip only", e.encoding)
	}
	r, err := gzip.NewReader(bytes.NewReader(e.body))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(r, limits.Checked+1))
	if len(body) > limits.Checked {
		return nil, errTooLarge
	}
	return body, err
}

// parseFamilies parses the text and protobuf formats.
func parseFamilies(contentType string, body []byte) (m parsed, err error) {
	format := expfmt.ResponseFormat(http.Header{"Content-Type": {contentType}})
	if format.FormatType() == expfmt.TypeUnknown {
		format = expfmt.NewFormat(expfmt.TypeTextPlain)
	}
	for decoder := expfmt.NewDecoder(bytes.NewReader(body), format); ; {
		f := new(dto.MetricFamily)
		if err := decoder.Decode(f); err == io.EOF {
			return m, nil
		} else if err != nil {
			return m, err
		}
		m.families = append(m.families, f)
		for _, metric := range f.GetMetric() {
			m.samples += samplesOf(metric)
		}
	}
}

// parseOpenMetrics parses OpenMetrics, which a service sends that does not
// negotiate, as Prometheus does: expfmt cannot.
func parseOpenMetrics(body []byte) (parsed, error) {
	m := parsed{open: true}
	for p := textparse.NewOpenMetricsParser(body, labels.NewSymbolTable()); ; {
		switch entry, err := p.Next(); {
		case errors.Is(err, io.EOF):
			return m, nil
		case err != nil:
			return m, err
		case entry == textparse.EntrySeries:
			m.samples++
		}
	}
}

// samplesOf returns how many lines m takes in the text format.
func samplesOf(m *dto.Metric) int {
	switch {
	case m.Histogram != nil:
		return len(m.Histogram.Bucket) + 2
	case m.Summary != nil:
		return len(m.Summary.Quantile) + 2
	default:
		return 1
	}
}

// lint returns what promlint says of m.
func (m parsed) lint() (problems []problem) {
	if m.open {
		return []problem{{Text: "not linted: promlint reads text, and this is OpenMetrics"}}
	}
	// Its errors are of parsing, which has been done.
	found, _ := promlint.NewWithMetricFamilies(m.families).Lint()
	for _, p := range found {
		problems = append(problems, problem(p))
	}
	return problems
}
