package scrape

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// DefaultContentType is put where a service names no type: Prometheus 3
// refuses a scrape without one.
const DefaultContentType = "text/plain; version=0.0.4; charset=utf-8"

// expositionTypes are the media types in which metrics are exposed, as
// Prometheus negotiates them.
var expositionTypes = []string{
	"text/plain",
	openMetricsType,
	protobufType,
}

const (
	openMetricsType = "application/openmetrics-text"
	protobufType    = "application/vnd.google.protobuf"
)

const pathAdvice = "if its metrics have another path, name that in the targets file (path)"

// checkType refuses what is no exposition by its own word, above all the HTML
// and JSON of the application behind the socket.
func checkType(contentType string) error {
	if !slices.Contains(expositionTypes, mediaType(contentType)) {
		return fmt.Errorf("%w: Content-Type is %s; metrics are %s; %s", ErrNotMetrics, printable(contentType), strings.Join(expositionTypes, ", "), pathAdvice)
	}
	return nil
}

// mediaType is the type of a Content-Type, without its parameters.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.Trim(media, " \t"))
}

// lookedAt is how many bytes of a body show whether it is text of another kind.
const lookedAt = 512

// checkText refuses text that begins as HTML or JSON do and no exposition does,
// whatever its type says; raw is that it came without HTTP.
func checkText(contentType string, beginning []byte, raw bool) error {
	if mediaType(contentType) != "text/plain" {
		return nil
	}
	text, like := bytes.TrimLeft(beginning, " \t\r\n"), ""
	switch {
	case bytes.HasPrefix(text, []byte("<")):
		like = "HTML or XML"
	case bytes.HasPrefix(text, []byte("[")), jsonObject(text):
		like = "JSON"
	case raw && bytes.HasPrefix(text, []byte("HTTP/")):
		return fmt.Errorf("%w: it speaks HTTP, so protocol: raw in the targets file is wrong", ErrNotMetrics)
	default:
		return nil
	}
	advice := pathAdvice
	if raw {
		advice = "it has another socket, perhaps, that writes its metrics"
	}
	return fmt.Errorf("%w: it looks like %s; %s", ErrNotMetrics, like, advice)
}

// jsonObject tells {"key": from {"metric.name",label="value"}, a sample of a
// metric whose name needs quotes.
func jsonObject(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte("{"))
	if !ok {
		return false
	}
	rest = bytes.TrimLeft(rest, " \t\r\n")
	if string(rest) == "}" {
		return true
	}
	if !bytes.HasPrefix(rest, []byte(`"`)) {
		return false
	}
	_, rest, ok = bytes.Cut(rest[1:], []byte(`"`))
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":"))
}
