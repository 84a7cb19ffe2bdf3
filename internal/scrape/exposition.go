package scrape

import (
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
	"application/openmetrics-text",
	"application/vnd.google.protobuf",
}

// checkType refuses what is no exposition by its own word, above all the HTML
// and JSON of the application behind the socket. It also refuses field values
// that are not text (RFC 9110 section 5.5), since they are passed on.
func checkType(contentType, contentEncoding string) error {
	if !fieldText(contentType) || !fieldText(contentEncoding) {
		return fmt.Errorf("%w: control characters in Content-Type or Content-Encoding", ErrInvalid)
	}
	if !slices.Contains(expositionTypes, mediaType(contentType)) {
		return fmt.Errorf("%w: Content-Type is %s; metrics are %s", ErrNotMetrics, printable(contentType), strings.Join(expositionTypes, ", "))
	}
	return nil
}

// mediaType is the type of a Content-Type, without its parameters.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.Trim(media, " \t"))
}

func fieldText(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// checkText refuses text that begins as HTML or JSON do and no exposition does,
// whatever its type says.
func checkText(contentType string, body []byte) error {
	if mediaType(contentType) != "text/plain" {
		return nil
	}
	text := strings.TrimLeft(string(body[:min(len(body), 512)]), " \t\r\n")
	switch {
	case strings.HasPrefix(text, "<"):
		return fmt.Errorf("%w: it looks like HTML or XML", ErrNotMetrics)
	case strings.HasPrefix(text, "["), jsonObject(text):
		return fmt.Errorf("%w: it looks like JSON", ErrNotMetrics)
	}
	return nil
}

// jsonObject tells {"key": from {"metric.name",label="value"}, a sample of a
// metric whose name needs quotes.
func jsonObject(text string) bool {
	rest, ok := strings.CutPrefix(text, "{")
	if !ok {
		return false
	}
	rest = strings.TrimLeft(rest, " \t\r\n")
	if rest == "}" {
		return true
	}
	if !strings.HasPrefix(rest, `"`) {
		return false
	}
	_, rest, ok = strings.Cut(rest[1:], `"`)
	return ok && strings.HasPrefix(strings.TrimLeft(rest, " \t\r\n"), ":")
}
