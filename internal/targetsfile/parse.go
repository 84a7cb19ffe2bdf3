package targetsfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// source is the file as it is written.
type source struct {
	Targets map[string]targetSource `yaml:"targets"`
}

type targetSource struct {
	Socket   *string           `yaml:"socket"`
	Path     *string           `yaml:"path"`
	Protocol *string           `yaml:"protocol"`
	Labels   map[string]string `yaml:"labels"`
	Timeout  *string           `yaml:"timeout"`
	Enabled  *bool             `yaml:"enabled"`
	Allow    *struct {
		Addresses    []string `yaml:"addresses"`
		Certificates []string `yaml:"certificates"`
	} `yaml:"allow"`
}

// parse returns what text says. The error is a *Fault, the first that there is.
func parse(text []byte) (File, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return File{}, syntaxFault(text, err)
	}
	if document.Kind == 0 {
		return File{}, wrongAt(0, "it is empty; a file that names no targets says so: targets: {}")
	}
	if err := plainNodes(&document, 0); err != nil {
		return File{}, err
	}
	// The same once more, to know what it means.
	var s source
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&s); err != nil && err != io.EOF {
		return File{}, meaningFault(&document, err)
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err != io.EOF {
		return File{}, wrongAt(more.Line, "there is more after the end of the document; a targets file is one")
	}
	f := File{Targets: make(map[string]Target, len(s.Targets))}
	written := values(value(&document, "targets"))
	var first *Fault
	for _, name := range slices.Sorted(maps.Keys(s.Targets)) {
		t, faults := s.Targets[name].target(name)
		if key := withoutValue(written[name]); len(faults) == 0 && key != "" {
			// What was under allow: is perhaps only commented out.
			faults = append(faults, wrong(key, "there is nothing under %s; leave it out, or say what it is", key))
		}
		if enabled := value(written[name], "enabled"); len(faults) == 0 && enabled != nil && enabled.Tag != "!!bool" {
			faults = append(faults, wrong("enabled", "enabled is true or false, without quotes, and not %q", enabled.Value))
		}
		for _, bad := range faults {
			line := line(&document, append([]string{"targets", name}, bad.keys...))
			if first == nil || line < first.Line {
				first = wrongAt(line, "target %q: %w", name, bad)
			}
		}
		f.Targets[name] = t
	}
	if first != nil {
		return File{}, first
	}
	if a, b := f.alike(); b != "" {
		return File{}, wrongAt(line(&document, []string{"targets", b, "labels"}), "target %q: its labels are those of target %q, and Prometheus could not tell the two apart", b, a)
	}
	return f, nil
}

// alike returns two targets that have the same labels, job included, in discovery; ""
// if there are none.
func (f File) alike() (a, b string) {
	names := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(f.Targets)) {
		t := f.Targets[name]
		if t.Disabled {
			continue
		}
		labels := map[string]string{"job": name}
		maps.Copy(labels, t.Labels)
		key := fmt.Sprintf("%q", labels)
		if names[key] != "" {
			return names[key], name
		}
		names[key] = name
	}
	return "", ""
}

// DuplicateLabels returns a target of f, and one that f does not have and there knows, which have
// the same labels in discovery; "" if there are none. Within f that is a fault.
func (f File) DuplicateLabels(there func(name string) bool) (target, other string) {
	for _, name := range slices.Sorted(maps.Keys(f.Targets)) {
		t := f.Targets[name]
		job := t.Labels["job"]
		if _, written := f.Targets[job]; !written && !t.Disabled && len(t.Labels) == 1 && job != "" && there(job) {
			return name, job
		}
	}
	return "", ""
}

// plainNodes returns an error if something stands for what is written elsewhere:
// who reads what a target allows is to see it there. And if keys are too many or there
// twice, at which the library takes a time and a memory that grow with their square.
func plainNodes(node *yaml.Node, depth int) error {
	if node.Kind == yaml.AliasNode || node.Tag == "!!merge" {
		return wrongAt(node.Line, "a targets file has no aliases (*) and merges (<<); write it out")
	}
	if node.Style&yaml.TaggedStyle != 0 {
		return wrongAt(node.Line, "a targets file has no tags (%s); quote what is text", node.Tag)
	}
	if node.Kind == yaml.MappingNode {
		if err := plainKeys(node, depth); err != nil {
			return err
		}
	}
	for _, child := range node.Content {
		if err := plainNodes(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// ofTargets is how deep the mapping with the targets is in a file.
const ofTargets = 2

// plainKeys returns an error unless the keys of a mapping are few, and different names.
func plainKeys(mapping *yaml.Node, depth int) error {
	most, what := limits.MaxTargetsFileKeys, "keys"
	if depth == ofTargets {
		most, what = limits.MaxTargets, "targets"
	}
	if n := len(mapping.Content) / 2; n > most {
		return wrongAt(mapping.Line, "%d %s, and %d are the most", n, what, most)
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key := mapping.Content[i]
		switch first, twice := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			return wrongAt(key.Line, "a name is a word, and no list or mapping")
		case key.Tag == "!!null":
			return wrongAt(key.Line, "a name is missing, or %q is one and needs quotes", key.Value)
		case twice:
			return wrongAt(key.Line, "%q is there twice, in line %d too", key.Value, first)
		}
		seen[key.Value] = key.Line
	}
	return nil
}

// badKey is what is wrong with a target.
type badKey struct {
	keys []string // lead to where it is written
	err  error
}

// Error returns what is wrong.
func (b badKey) Error() string { return b.err.Error() }

func wrong(key, format string, args ...any) badKey {
	var keys []string
	if key != "" {
		keys = strings.Split(key, ".")
	}
	return badKey{keys: keys, err: fmt.Errorf(format, args...)}
}

// target checks what is said of name, and returns all that is wrong.
func (s targetSource) target(name string) (t Target, faults []badKey) {
	t = Default
	if !socketdir.ValidName(name) {
		return t, []badKey{wrong("", "not a valid name, which is 1 to %d letters, digits and . _ - @ : +, beginning with a letter or digit", socketdir.NameMax)}
	}
	if name == ReservedName {
		return t, []badKey{wrong("", "it is the name of a page of Aegis' own; give the target another, and here its socket")}
	}
	if short, ok := strings.CutSuffix(name, socketdir.Suffix); ok && s.Socket == nil {
		return t, []badKey{wrong("", "it is the name of a file; the target is %q, without %s", short, socketdir.Suffix)}
	}
	t.Disabled = s.Enabled != nil && !*s.Enabled
	for _, set := range []func(*Target) error{s.setSocket, s.setPath, s.setProtocol, s.setTimeout, s.setLabels, s.setAllow} {
		if bad := (badKey{}); errors.As(set(&t), &bad) {
			faults = append(faults, bad)
		}
	}
	return t, faults
}

func (s targetSource) setSocket(t *Target) error {
	if s.Socket == nil {
		return nil
	}
	if t.Socket = *s.Socket; !filepath.IsAbs(t.Socket) || filepath.Clean(t.Socket) != t.Socket {
		return wrong("socket", "socket %q is no absolute path such as /run/rpm-ostreed.promsock, without . and .. in it", t.Socket)
	}
	return nil
}

func (s targetSource) setPath(t *Target) error {
	if s.Path == nil {
		return nil
	}
	t.Path = *s.Path
	if !strings.HasPrefix(t.Path, "/") {
		return wrong("path", "path %q does not begin with a slash", t.Path)
	}
	for _, c := range t.Path {
		// What may stand in a path (RFC 3986 section 3.3); the query is the
		// scraper's.
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`"#<>?\^{|}`+"`", c) {
			return wrong("path", "path %q has %q in it; write it percent-encoded, and without a query", t.Path, c)
		}
	}
	if _, err := url.PathUnescape(t.Path); err != nil {
		return wrong("path", "path %q: %w; a percent sign itself is %%25", t.Path, err)
	}
	return nil
}

func (s targetSource) setProtocol(t *Target) error {
	switch {
	case s.Protocol == nil || *s.Protocol == "http":
	case *s.Protocol != "raw":
		return wrong("protocol", "protocol %q is neither http nor raw", *s.Protocol)
	case s.Path != nil:
		return wrong("path", "a path, but with protocol raw nothing is asked for")
	default:
		t.Raw = true
	}
	return nil
}

func (s targetSource) setTimeout(t *Target) error {
	if s.Timeout == nil {
		return nil
	}
	timeout, err := time.ParseDuration(*s.Timeout)
	if err != nil || timeout < limits.MinScrapeTimeout || timeout > limits.MaxScrapeTimeout {
		return wrong("timeout", "timeout %q is no duration such as 5s or 1m30s, from %v to %v", *s.Timeout, limits.MinScrapeTimeout, limits.MaxScrapeTimeout)
	}
	t.Timeout = timeout
	return nil
}

func (s targetSource) setLabels(t *Target) error {
	for name := range s.Labels {
		if !validLabel(name) || strings.HasPrefix(name, "__") {
			return wrong("labels."+name, "%q is no name for a label: letters, digits and _, not beginning with a digit or __", name)
		}
	}
	t.Labels = s.Labels
	return nil
}

// validLabel reports whether name is a label name as every version of Prometheus
// takes it.
func validLabel(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && !('a' <= c|0x20 && c|0x20 <= 'z') && !(i > 0 && '0' <= c && c <= '9') {
			return false
		}
	}
	return name != ""
}

func (s targetSource) setAllow(t *Target) error {
	if s.Allow == nil {
		return nil
	}
	t.Allow = &Allow{Certificates: s.Allow.Certificates}
	for i, text := range s.Allow.Addresses {
		prefix, err := ParsePrefix(text)
		if err != nil && strings.Contains(text, ",") {
			err = fmt.Errorf("%q is more than one address; a list has them apart: [10.0.0.1, 10.0.0.2]", text)
		}
		if err != nil {
			return wrong(fmt.Sprint("allow.addresses.", i), "allow: %w", err)
		}
		t.Allow.Addresses = append(t.Allow.Addresses, prefix)
	}
	if len(t.Allow.Addresses)+len(t.Allow.Certificates) == 0 {
		return wrong("allow", "allow names nobody; leave it out where all may, or say enabled: false")
	}
	if i := slices.Index(t.Allow.Certificates, ""); i >= 0 {
		return wrong(fmt.Sprint("allow.certificates.", i), "allow: the name of a certificate is empty")
	}
	return nil
}

// ParsePrefix reads an address or a prefix, as the flag -allow and the targets
// file have them.
func ParsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix such as 10.100.0.0/24 or fda2::/16", text)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("%q has bits set behind its length: write %v, or the address alone", text, p.Masked())
	}
	return p, nil
}

// values returns what stands in a mapping, by its keys.
func values(mapping *yaml.Node) map[string]*yaml.Node {
	all := make(map[string]*yaml.Node)
	for i := 0; mapping != nil && i+1 < len(mapping.Content); i += 2 {
		all[mapping.Content[i].Value] = mapping.Content[i+1]
	}
	return all
}

// withoutValue returns a key in what is written of a target that has no value, after
// those that lead to it; "" if there is none.
func withoutValue(node *yaml.Node) string {
	for i := 0; node != nil && node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		key, under := node.Content[i].Value, node.Content[i+1]
		if under.Tag == "!!null" {
			return key
		}
		if further := withoutValue(under); further != "" {
			return key + "." + further
		}
	}
	return ""
}

// value returns what stands under key in a mapping, nil if nothing does.
func value(node *yaml.Node, key string) *yaml.Node {
	if node != nil && node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	for i := 0; node != nil && node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// line returns the line where the value that keys lead to is written, or as much
// of the way to it as there is.
func line(document *yaml.Node, keys []string) int {
	at := 1
	node := document
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	for _, key := range keys {
		found := false
		if i, err := strconv.Atoi(key); err == nil && node.Kind == yaml.SequenceNode && i < len(node.Content) {
			node = node.Content[i]
			at, found = node.Line, true
		}
		for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				at, node, found = node.Content[i].Line, node.Content[i+1], true
				break
			}
		}
		if !found {
			break
		}
	}
	return at
}
