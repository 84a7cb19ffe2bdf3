package scrape

import (
	"cmp"
	"encoding/json"
	"hash/maphash"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/prometheus/common/model"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// varlinkService is what is kept about a socket with Varlink.
type varlinkService struct {
	slots     *limits.Semaphore // of scrapes in flight
	described atomic.Pointer[descriptions]
}

// varlinkService returns the service of the socket at path. Beyond limits.MaxVarlinkServices, it forgets the others.
func (c *Client) varlinkService(path string) *varlinkService {
	c.varlinkMu.Lock()
	defer c.varlinkMu.Unlock()
	s := c.varlink[path]
	if s == nil {
		if c.varlink == nil || len(c.varlink) >= limits.MaxVarlinkServices {
			c.varlink = make(map[string]*varlinkService)
		}
		s = &varlinkService{slots: limits.NewSemaphore(limits.MaxVarlinkScrapes)}
		s.described.Store(new(descriptions))
		c.varlink[path] = s
	}
	return s
}

// varlinkMetric has the parameters of a reply of List, or those of Describe.
type varlinkMetric struct {
	Name, Object      string
	Fields            map[string]json.RawMessage
	Value             json.RawMessage
	Description, Type string
}

// descriptions are what Describe says, by the names of metrics there. A name that it lacks has an empty one.
type descriptions struct {
	of     socketdir.ID // the socket
	byName map[string]description
}

type description struct{ help, kind string }

// varlinkMetrics turns values into text, grouped by name: services send them in any order.
type varlinkMetrics struct {
	prefix      string                    // of the names of metrics that the service may have
	foreign     string                    // the name of a metric without it, if there is one
	families    map[string]*varlinkFamily // by name in the text
	described   map[string]description
	undescribed bool            // described lacks a family
	seen        map[uint64]bool // series, by hash
	seed        maphash.Seed
	size        int       // of all text
	full        []*buffer // count as the memory of the text
}

type varlinkFamily struct {
	name    string // in Varlink
	samples []byte
}

func newVarlinkMetrics(file string, described map[string]description) *varlinkMetrics {
	return &varlinkMetrics{
		prefix:   strings.TrimSuffix(file, socketdir.Suffix) + ".",
		families: make(map[string]*varlinkFamily), described: described,
		seen: make(map[uint64]bool), seed: maphash.MakeSeed(),
	}
}

// add adds the value m, unless the text format has no place for it.
func (v *varlinkMetrics) add(m varlinkMetric) error {
	if !strings.HasPrefix(m.Name, v.prefix) {
		v.foreign = cmp.Or(v.foreign, m.Name)
		return nil
	}
	if len(m.Fields) > limits.MaxVarlinkFields {
		return invalidf("a value of %.80q has more than %d fields", m.Name, limits.MaxVarlinkFields)
	}
	name, labels, value := m.sample()
	series := name + labels
	hash := maphash.String(v.seed, series)
	if value == "" || v.seen[hash] {
		return nil
	}
	v.seen[hash] = true
	family := v.families[name]
	if family == nil {
		if len(v.families) == limits.MaxVarlinkFamilies {
			return invalidf("it has more than %d metrics of different names", limits.MaxVarlinkFamilies)
		}
		family = &varlinkFamily{name: m.Name}
		v.families[name] = family
		_, known := v.described[m.Name]
		v.undescribed = v.undescribed || !known
	}
	before := len(family.samples)
	family.samples = appendAll(family.samples, series, " ", value, "\n")
	for v.size += len(family.samples) - before; len(v.full)*limits.BufferSize < v.size; {
		b, err := getBuffer()
		if err != nil {
			return err
		}
		v.full = append(v.full, b)
	}
	return nil
}

// clearDescriptions forgets all descriptions. What Describe lacks again is not asked for at the next scrape.
func (v *varlinkMetrics) clearDescriptions() {
	v.described = make(map[string]description)
	for _, family := range v.families {
		v.described[family.name] = description{}
	}
}

// describe adds the description m.
func (v *varlinkMetrics) describe(m varlinkMetric) error {
	if len(m.Name) <= limits.MaxVarlinkText {
		kind := map[string]string{"counter": "counter", "gauge": "gauge", "string": "gauge"}[m.Type]
		v.described[m.Name] = description{strings.Clone(printable(m.Description)), kind}
	}
	return nil
}

// response returns all metrics in the text format.
func (v *varlinkMetrics) response() *Response {
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(v.families)) {
		family := v.families[name]
		d := v.described[family.name]
		if d.help != "" {
			text = appendAll(text, "# HELP ", name, " ", strings.ReplaceAll(d.help, `\`, `\\`), "\n")
		}
		text = appendAll(text, "# TYPE ", name, " ", cmp.Or(d.kind, "untyped"), "\n")
		text = append(text, family.samples...)
	}
	return &Response{
		ContentType: DefaultContentType, complete: true, length: int64(len(text)),
		buffered: [][]byte{text}, full: v.full,
	}
}

var (
	textName     = strings.NewReplacer(".", "_", "-", "_")
	notInLabel   = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
)

// sample returns the name, the labels in braces and the value of m in the text format. The value is empty if the
// format has no place for m: an object, text that is too long or not printable, or a value that is not set.
func (m *varlinkMetric) sample() (name, labels, value string) {
	name = textName.Replace(m.Name)
	pairs := map[string]string{"object": m.Object}
	if len(m.Value) > 0 && m.Value[0] == '"' {
		name += "_info"
		value, pairs["value"] = "1", jsonText(m.Value)
	} else if number, err := strconv.ParseFloat(string(m.Value), 64); err == nil && number != 1<<64 { // 2^64-1 is D-Bus' "not set".
		value = strconv.FormatFloat(number, 'g', -1, 64)
	}
	for _, key := range slices.Sorted(maps.Keys(m.Fields)) {
		label := key
		for pairs[label] != "" || label == "object" || strings.HasPrefix(label, "__") || !model.LegacyValidation.IsValidLabelName(label) {
			label = "field_" + notInLabel.ReplaceAllString(label, "_")
		}
		pairs[label] = jsonText(m.Fields[key])
	}
	if len(name) > limits.MaxVarlinkText || !model.LegacyValidation.IsValidMetricName(name) {
		value = ""
	}
	var text []byte
	for _, label := range slices.Sorted(maps.Keys(pairs)) {
		content := pairs[label]
		if max(len(label), len(content)) > limits.MaxVarlinkText || strings.ContainsFunc(content, unicode.IsControl) {
			value = ""
		}
		if content != "" {
			text = appendAll(text, ",", label, `="`, labelEscaper.Replace(content), `"`)
		}
	}
	if len(text) > 0 {
		text[0] = '{'
		text = append(text, '}')
	}
	return name, string(text), value
}

// jsonText returns the content of a string, and any other JSON as it is.
func jsonText(raw json.RawMessage) (content string) {
	if json.Unmarshal(raw, &content) != nil {
		content = string(raw)
	}
	return content
}
