package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"google.golang.org/protobuf/encoding/protodelim"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

// samples counts the samples of an exposition.
type samples struct {
	Series int `json:"series"` // distinct series
	// Repeated counts the samples that repeat a series without a timestamp of their own.
	Repeated int `json:"repeated,omitempty"`
}

// parse counts the samples. The error wraps scrape.ErrNotMetrics if Prometheus would not
// accept the exposition, or errTooLarge.
func (e *exposition) parse() (found samples, err error) {
	if e.size > limits.MaxCheckBody {
		return samples{}, errTooLarge
	}
	if err := e.decompress(); err != nil {
		return samples{}, err
	}
	if e.mediaType() == "application/vnd.google.protobuf" {
		found.Series, err = countProtobuf(e.body)
	} else {
		found, err = countText(e.body, e.contentType)
	}
	if err != nil {
		return samples{}, fmt.Errorf("%w: %w", scrape.ErrNotMetrics, err)
	}
	return found, nil
}

// countText counts the samples of body, and names the first line that is wrong in itself.
func countText(body []byte, contentType string) (samples, error) {
	found, err := countParsed(body, contentType)
	if err == nil {
		return found, nil
	}
	// The parsers do not say where the error is, but each line can be parsed on its own.
	const end = "# EOF" // required in OpenMetrics, a comment in the other format
	i := 0
	for line := range bytes.SplitSeq(bytes.TrimSuffix(body, []byte("\n")), []byte("\n")) {
		i++
		if string(line) == end {
			continue
		}
		alone := slices.Concat(line, []byte("\n"+end+"\n"))
		if _, lineErr := countParsed(alone, contentType); lineErr != nil {
			return samples{}, lineError(i, string(line), lineErr)
		}
	}
	return samples{}, err
}

// lineError says why line i cannot be parsed, for the author of the service.
func lineError(i int, line string, err error) error {
	reason, _, _ := strings.Cut(err.Error(), " while parsing: ")
	var notNumber *strconv.NumError
	switch {
	case strings.HasSuffix(line, "\r"):
		reason = "it ends in CR LF, but lines of metrics end in LF"
	case errors.As(err, &notNumber):
		reason = fmt.Sprintf("%q is not a number", notNumber.Num)
	}
	return fmt.Errorf("line %d: %s, in %.200q", i, reason, line)
}

// countParsed counts the samples of body with Prometheus' own parser. Like Prometheus, it
// rejects a series that has a label twice.
func countParsed(body []byte, contentType string) (found samples, err error) {
	parser, err := textparse.New(body, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return samples{}, err
	}
	var series labels.Labels
	seen := make(map[uint64]bool) // by hash of the series
	for {
		entry, err := parser.Next()
		if err == io.EOF {
			return found, nil
		} else if err != nil {
			return samples{}, err
		} else if entry != textparse.EntrySeries {
			continue
		}
		parser.Labels(&series)
		if name, ok := series.HasDuplicateLabelNames(); ok {
			return samples{}, fmt.Errorf("label %q is there twice in %s", name, series)
		}
		hash := series.Hash()
		if !seen[hash] {
			seen[hash] = true
			found.Series++
		} else if _, timestamp, _ := parser.Series(); timestamp == nil {
			found.Repeated++
		}
	}
}

// countProtobuf returns how many series body would have in the text format. It does not use
// Prometheus' parser, whose stack overflows if a few megabytes of metric families are empty,
// nor that of expfmt, which allocates as many bytes as a length in body says.
func countProtobuf(body []byte) (series int, err error) {
	reader, options := bytes.NewReader(body), protodelim.UnmarshalOptions{MaxSize: limits.MaxCheckBody}
	for {
		var family dto.MetricFamily
		if err := options.UnmarshalFrom(reader, &family); err == io.EOF {
			return series, nil
		} else if err != nil {
			return 0, err
		}
		for _, m := range family.GetMetric() {
			series += seriesOf(m)
		}
	}
}

// seriesOf returns how many series m has in the text format.
func seriesOf(m *dto.Metric) int {
	switch {
	case m.Histogram != nil:
		n := len(m.Histogram.Bucket)
		if n == 0 || !math.IsInf(m.Histogram.Bucket[n-1].GetUpperBound(), 1) {
			n++ // The text format always has the last bucket.
		}
		return n + 2 // the count and the sum
	case m.Summary != nil:
		return len(m.Summary.Quantile) + 2
	default:
		return 1
	}
}
