package check

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/target"
)

// tooLarge is the result of a scrape whose response is too large to be parsed.
const tooLarge target.Result = "too_large"

// Reasons for tooLarge.
var (
	errTooLarge = fmt.Errorf("the response is complete, but check parses only %d MiB", limits.MaxCheckBody>>20)
	errTooSlow  = errors.New("the response is complete, but too large to parse it within -timeout")
)

// exposition is the response of a service. It keeps up to limits.MaxCheckBody of what is written to it.
type exposition struct {
	contentType, encoding string
	body                  []byte
	size                  int       // of the whole response, before decompression
	deadline              time.Time // of parsing and linting
}

// Write appends p to the body, or drops it if it does not fit. It never fails.
func (e *exposition) Write(p []byte) (int, error) {
	e.size += len(p)
	if e.size <= limits.MaxCheckBody {
		e.body = append(e.body, p...)
	}
	return len(p), nil
}

// mediaType returns the media type, in lower case and without parameters.
func (e *exposition) mediaType() string {
	mediaType, _, _ := mime.ParseMediaType(e.contentType)
	return mediaType
}

// samples counts the samples of an exposition.
type samples struct {
	Series int `json:"series"` // distinct series
	// Repeated counts the samples that repeat a series without a timestamp of their own.
	Repeated int `json:"repeated,omitempty"`
}

// parse counts the samples. The error wraps scrape.ErrNotMetrics if Prometheus would not accept the
// exposition, or errTooLarge.
func (e *exposition) parse() (found samples, err error) {
	if e.size > limits.MaxCheckBody {
		return samples{}, errTooLarge
	}
	if err := e.decompress(); err != nil {
		return samples{}, err
	}
	// Prometheus' parser for it overflows the stack if a few megabytes of metric families are empty.
	if e.mediaType() == "application/vnd.google.protobuf" {
		return samples{}, fmt.Errorf("%w: the request prefers text and check reads nothing else, but this is"+
			" protobuf; let the service respect the Accept header", scrape.ErrNotMetrics)
	}
	found, err = e.countText()
	if err != nil && err != errTooSlow {
		err = fmt.Errorf("%w: %w", scrape.ErrNotMetrics, err)
	}
	return found, err
}

// decompress removes the encoding from the body. The errors are those of parse.
func (e *exposition) decompress() error {
	var r io.Reader
	var err error
	switch strings.ToLower(e.encoding) {
	case "", "identity":
		return nil
	case "gzip":
		r, err = gzip.NewReader(bytes.NewReader(e.body))
	case "zstd":
		const maxWindow = 8 << 20 // Prometheus' own
		r, err = zstd.NewReader(bytes.NewReader(e.body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	default:
		return fmt.Errorf("%w: Content-Encoding is %q, but Prometheus understands only gzip and zstd",
			scrape.ErrNotMetrics, e.encoding)
	}
	var body []byte
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(r, limits.MaxCheckBody+1))
	}
	if len(body) > limits.MaxCheckBody {
		return errTooLarge
	}
	if err != nil {
		return fmt.Errorf("%w: decompressing it: %w", scrape.ErrNotMetrics, err)
	}
	e.body = body
	return nil
}

// countText counts the samples of the body, and names the first line that is wrong in itself.
func (e *exposition) countText() (samples, error) {
	found, err := e.count(e.body)
	if err == nil || err == errTooSlow {
		return found, err
	}
	// The parsers do not say where the error is, but each line can be parsed on its own.
	const end = "# EOF" // required in OpenMetrics, a comment in the other format
	i := 0
	for line := range bytes.SplitSeq(bytes.TrimSuffix(e.body, []byte("\n")), []byte("\n")) {
		i++
		if string(line) == end {
			continue
		}
		alone := slices.Concat(line, []byte("\n"+end+"\n"))
		if _, lineErr := e.count(alone); lineErr == errTooSlow {
			break
		} else if lineErr != nil {
			return samples{}, lineError(i, string(line), lineErr)
		}
	}
	return samples{}, err
}

// lineError says why line i cannot be parsed, for the author of the service.
func lineError(i int, line string, err error) error {
	reason, _, _ := strings.Cut(err.Error(), " while parsing: ")
	if strings.HasSuffix(line, "\r") {
		reason = "it ends in CR LF, but lines of metrics end in LF"
	} else if notNumber, ok := errors.AsType[*strconv.NumError](err); ok {
		reason = fmt.Sprintf("%q is not a number", notNumber.Num)
	}
	return fmt.Errorf("line %d: %s, in %.200q", i, reason, line)
}

// count counts the samples of body, which is the body of e or a line of it, with Prometheus' own parser. Like
// Prometheus, it rejects a series that has a label twice.
func (e *exposition) count(body []byte) (found samples, err error) {
	parser, err := textparse.New(body, e.contentType, labels.NewSymbolTable(), textparse.ParserOptions{EnableOpenMetrics2: true})
	if err != nil {
		return samples{}, err
	}
	var series labels.Labels
	seen := make(map[uint64]bool) // by hash of the series
	for {
		entry, err := parser.Next()
		if err == io.EOF {
			return found, nil
		} else if time.Now().After(e.deadline) {
			return samples{}, errTooSlow
		} else if err != nil {
			return samples{}, err
		} else if entry != textparse.EntrySeries && entry != textparse.EntryHistogram {
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
		} else if entry == textparse.EntryHistogram {
			continue
		} else if _, timestamp, _ := parser.Series(); timestamp == nil {
			found.Repeated++
		}
	}
}

// features returns the features that must be enabled in Prometheus for it to read e, separated by commas.
func (e *exposition) features() string {
	var names []string
	if _, parameters, _ := mime.ParseMediaType(e.contentType); parameters["version"] == "2.0.0" {
		names = append(names, "openmetrics2")
	}
	if strings.EqualFold(e.encoding, "zstd") {
		names = append(names, "zstd-scrape")
	}
	return strings.Join(names, ",")
}

// lint returns what promlint finds in e, which has been parsed.
func (e *exposition) lint() (problems []problem) {
	if e.mediaType() != "text/plain" {
		return []problem{{Text: "not linted: promlint reads only the text format"}}
	}
	body := e.body
	if len(body) > limits.MaxLintBody {
		return []problem{{Text: fmt.Sprintf("not linted: it is larger than %d MiB", limits.MaxLintBody>>20)}}
	}
	if len(body) > 0 && !bytes.HasSuffix(body, []byte("\n")) {
		problems = append(problems, problem{Text: "its last line does not end in a line feed"})
		body = append(slices.Clone(body), '\n')
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	for _, family := range families {
		family.Metric = withNewLabels(family.Metric)
	}
	found, lintErr := promlint.NewWithMetricFamilies(slices.Collect(maps.Values(families))).Lint()
	if err = cmp.Or(err, lintErr); err != nil {
		problems = append(problems, problem{Text: "not linted: " + err.Error()})
	}
	for _, p := range slices.Compact(found) {
		problems = append(problems, problem(p))
	}
	return problems
}

// withNewLabels returns the series that have a label name that those before lack, and the first one, but no more
// than limits.MaxLintSeries: promlint compares each series with every other one, which takes forever, and
// complains about names only. The parser finds repeated series.
func withNewLabels(all []*dto.Metric) (kept []*dto.Metric) {
	seen := make(map[string]bool)
	for _, series := range all {
		isNew := len(kept) == 0
		for _, l := range series.Label {
			isNew = isNew || !seen[l.GetName()]
			seen[l.GetName()] = true
		}
		if isNew && len(kept) < limits.MaxLintSeries {
			kept = append(kept, series)
		}
	}
	return kept
}
