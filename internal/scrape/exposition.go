package scrape

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// DefaultContentType is the type of a response without Content-Type: Prometheus 3 rejects
// a scrape that has none.
const DefaultContentType = plainTextType + "; charset=utf-8"

const (
	plainTextType   = textType + "; version=0.0.4"
	textType        = "text/plain"
	openMetricsType = "application/openmetrics-text"
	protobufType    = "application/vnd.google.protobuf"
)

// expositionTypes are the media types that Prometheus negotiates.
var expositionTypes = []string{textType, openMetricsType, protobufType}

const pathAdvice = "if its metrics have another path, set path in the targets file (-config.file)"

// isExposition reports whether contentType is a type of metrics. Above all, the HTML and JSON of the
// application behind the socket are not.
func isExposition(contentType string) bool {
	return slices.Contains(expositionTypes, mediaType(contentType))
}

// typeError returns an ErrNotMetrics about a type that is not one of metrics, of a body that begins so.
func typeError(contentType string, beginning []byte) error {
	if beginsLikeMetrics.Match(beginning) {
		return fmt.Errorf("%w: it is the right text of the wrong type: Content-Type is %s; if it is always metrics, "+
			"set content_type: %s in the targets file (-config.file)", ErrNotMetrics, printable(contentType), plainTextType)
	}
	return fmt.Errorf("%w: Content-Type is %s, and that of metrics is one of %s; %s",
		ErrNotMetrics, printable(contentType), strings.Join(expositionTypes, ", "), pathAdvice)
}

// beginsLikeMetrics matches a comment that describes a metric, or a sample, perhaps after other comments.
var beginsLikeMetrics = regexp.MustCompile(`^(#.*\n|\s)*(# (HELP|TYPE) |[a-zA-Z_:][\w:]*(\{.*\})?[ \t]+[-+]?(\d|Inf|NaN))`)

// decompressed returns the beginning of a body without its encoding, nil if that is neither none nor gzip.
func decompressed(encoding string, beginning []byte) []byte {
	if encoding == "" {
		return beginning
	}
	r, err := gzip.NewReader(bytes.NewReader(beginning))
	if encoding != "gzip" || err != nil {
		return nil
	}
	text := make([]byte, sniffLen)
	n, _ := io.ReadFull(r, text)
	return text[:n]
}

// mediaType returns contentType without its parameters, in lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.Trim(media, " \t"))
}

// sniffLen is how many bytes at the beginning of a body show whether it is HTML or JSON.
const sniffLen = 512

// jsonObject matches the beginning of a JSON object. It tells {"key": from
// {"metric.name",label="value"}, which is a sample of a metric whose name needs quotes.
var jsonObject = regexp.MustCompile(`^\{\s*(\}$|"[^"]*"\s*:)`)

// checkText returns an ErrNotMetrics if a body of text begins as HTML or JSON
// does, which no metrics do. raw means that it came without HTTP.
func checkText(contentType string, beginning []byte, raw bool) error {
	if mediaType(contentType) == protobufType {
		return nil
	}
	text, format := bytes.TrimLeft(beginning, " \t\r\n"), ""
	switch {
	case bytes.HasPrefix(text, []byte("<")):
		format = "HTML or XML"
	case bytes.HasPrefix(text, []byte("[")), jsonObject.Match(text):
		format = "JSON"
	case raw && bytes.HasPrefix(text, []byte("HTTP/")):
		return fmt.Errorf("%w: the service speaks HTTP; remove protocol: raw from the targets file", ErrNotMetrics)
	default:
		return nil
	}
	advice := pathAdvice
	if raw {
		advice = "check whether the service has another socket for its metrics"
	}
	return fmt.Errorf("%w: it looks like %s; %s", ErrNotMetrics, format, advice)
}
