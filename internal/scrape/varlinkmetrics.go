package scrape

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/prometheus/common/model"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// varlinkMetric has the parameters of a reply of List, or those of Describe.
type varlinkMetric struct {
	Name, Object      string
	Fields            map[string]json.RawMessage
	Value             json.RawMessage
	Description, Type string
}

// descriptions are what Describe says of the socket's metrics, by their names in Varlink.
type descriptions struct {
	socket socketdir.ID
	byName map[string]description
}

type description struct{ help, kind string }

// have reports whether d has a description, which may be empty, of each sample of the socket.
func (d *descriptions) have(socket socketdir.ID, samples []varlinkSample) bool {
	return d.socket == socket && !slices.ContainsFunc(samples, func(s varlinkSample) bool {
		_, ok := d.byName[s.of]
		return !ok
	}) || len(samples) == 0
}

// varlinkSample is a value as the text format has it.
type varlinkSample struct {
	of     string // the name in Varlink
	name   string
	labels string // in braces
	value  string
}

// varlinkText returns all samples in the text format, grouped by name. Of those with the same labels, the first stays.
func varlinkText(samples []varlinkSample, described map[string]description) (text []byte) {
	slices.SortStableFunc(samples, func(a, b varlinkSample) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.labels, b.labels))
	})
	var last varlinkSample
	for _, s := range samples {
		if s.name != last.name {
			d := described[s.of]
			if d.help != "" {
				text = appendAll(text, "# HELP ", s.name, " ", strings.ReplaceAll(d.help, `\`, `\\`), "\n")
			}
			kind := cmp.Or(d.kind, "untyped")
			if s.name != textName.Replace(s.of) { // NAME_info is always 1.
				kind = "gauge"
			}
			text = appendAll(text, "# TYPE ", s.name, " ", kind, "\n")
		} else if s.labels == last.labels {
			continue
		}
		text = appendAll(text, s.name, s.labels, " ", s.value, "\n")
		last = s
	}
	return text
}

var (
	textName     = strings.NewReplacer(".", "_", "-", "_")
	notInLabel   = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
)

// notSet is 2^64-1, with which D-Bus says that a value is not set, as the number that a float64 has for it.
const notSet = 1 << 64

// sample returns m as a sample. Its value is empty if the text format has no place for m: an object, text that is too
// long or not printable, or a value that is not set.
func (m *varlinkMetric) sample() varlinkSample {
	s := varlinkSample{of: m.Name, name: textName.Replace(m.Name)}
	labels := map[string]string{"object": m.Object}
	if len(m.Value) > 0 && m.Value[0] == '"' {
		s.name += "_info"
		s.value, labels["value"] = "1", jsonText(m.Value)
	} else if number, err := strconv.ParseFloat(string(m.Value), 64); err == nil && number != notSet {
		s.value = strconv.FormatFloat(number, 'g', -1, 64)
	}
	for _, key := range slices.Sorted(maps.Keys(m.Fields)) {
		label := key
		if labels[label] != "" || label == "object" || !isLabel(label) {
			label = "field_" + notInLabel.ReplaceAllString(label, "_")
		}
		if labels[label] == "" {
			labels[label] = jsonText(m.Fields[key])
		}
	}
	fits := len(s.name) <= limits.MaxVarlinkText && model.LegacyValidation.IsValidMetricName(s.name)
	var text []byte
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		content := labels[label]
		fits = fits && max(len(label), len(content)) <= limits.MaxVarlinkText &&
			!strings.ContainsFunc(content, unicode.IsControl)
		if content != "" {
			text = appendAll(text, ",", label, `="`, labelEscaper.Replace(content), `"`)
		}
	}
	if len(text) > 0 {
		s.labels = "{" + string(text[1:]) + "}"
	}
	if !fits {
		s.value = ""
	}
	return s
}

// isLabel reports whether name may be that of a label. Prometheus reserves those with two underscores.
func isLabel(name string) bool {
	return model.LegacyValidation.IsValidLabelName(name) && !strings.HasPrefix(name, "__")
}

// jsonText returns the content of a string, and any other JSON as it is.
func jsonText(raw json.RawMessage) (content string) {
	if json.Unmarshal(raw, &content) != nil {
		content = string(raw)
	}
	return content
}
