package targetsfile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// parse returns the content of a targets file. An error is a *Fault, the first one found.
func parse(text []byte) (File, error) {
	root, fault := parseYAML(text)
	if fault != nil {
		return File{}, fault
	}
	targets, fault := findTargets(root)
	if fault != nil {
		return File{}, fault
	}
	if n := len(targets.Content) / 2; n > limits.MaxTargets {
		return File{}, wrongValue(targets.Line, "there are %d targets; the limit is %d", n, limits.MaxTargets)
	}
	f := File{Targets: make(map[string]Target)}
	byLabels := make(map[string]string)
	for name, value := range entries(targets) {
		t, fault := parseTarget(name, value)
		if fault == nil {
			fault = checkLabels(byLabels, name, value, t)
		}
		if fault != nil {
			fault.text = fmt.Sprintf("target %q: %s", name.Value, fault.text)
			return File{}, fault
		}
		f.Targets[name.Value] = t
	}
	return f, nil
}

// findTargets returns the value of the key targets, the only one that a file may have. It has no
// entries if the file has no targets.
func findTargets(root *yaml.Node) (*yaml.Node, *Fault) {
	if fault := expect(root, yaml.MappingNode, "the file", "a mapping with the key targets"); fault != nil {
		return nil, fault
	}
	targets := new(yaml.Node)
	for key, value := range entries(root) {
		switch key.Value {
		case "targets":
			targets = value
		case "tls_server_config", "basic_auth_users", "http_server_config", "rate_limit":
			return nil, unknownKey(key, "this is a file for -web.config.file")
		default:
			return nil, unknownKey(key, "the only key is targets, with the names indented below it", "targets")
		}
	}
	if targets.Kind == 0 || isNull(targets) {
		return targets, nil
	}
	return targets, expect(targets, yaml.MappingNode, "targets", "a mapping of names to settings")
}

// parseTarget returns the settings of the target called name.
func parseTarget(name, value *yaml.Node) (Target, *Fault) {
	t := Default
	if fault := checkName(name, value); fault != nil || isNull(value) {
		return t, fault
	}
	fault := expect(value, yaml.MappingNode, "its value", "a mapping with the keys "+targetKeys)
	if fault != nil {
		return t, fault
	}
	for key, value := range entries(value) {
		setting, ok := settings[key.Value]
		if !ok {
			return t, unknownKey(key, "the keys of a target are "+targetKeys, slices.Sorted(maps.Keys(settings))...)
		}
		fault := expect(value, setting.kind, key.Value, setting.want)
		if fault == nil {
			fault = setting.set(&t, value)
		}
		if fault != nil {
			return t, fault
		}
	}
	for _, key := range []string{"path", "params", "host", "content_type"} {
		// The text of a raw socket can be OpenMetrics, too.
		needed := t.Protocol == scrape.HTTP || t.Protocol == scrape.Raw && key == "content_type"
		if line := lineOf(value, key); line > 0 && !needed {
			return t, wrongValue(line, "protocol %s has no HTTP request and needs no %s; remove one", t.Protocol, key)
		}
	}
	return t, nil
}

// checkName returns a fault unless a target with these settings may have the name.
func checkName(name, settings *yaml.Node) *Fault {
	if !socketdir.ValidName(name.Value) {
		return wrongValue(name.Line, "not a valid name, which is 1 to %d letters, digits and . _ - @ : +, "+
			"beginning with a letter or digit", socketdir.MaxNameLen)
	}
	if name.Value == ReservedName {
		return wrongValue(name.Line, "this name is reserved, because /%s serves Aegis' own metrics; "+
			"give the target another name, and set its socket here", ReservedName)
	}
	if short, ok := strings.CutSuffix(name.Value, socketdir.Suffix); ok && lineOf(settings, "socket") == 0 {
		return wrongValue(name.Line, "this is the name of a socket; the name of the target is %q, without %s",
			short, socketdir.Suffix)
	}
	return nil
}

// checkLabels adds the target t, unless it is disabled, to the names of targets by their labels in
// service discovery. It returns a fault if another target has the same labels, because Prometheus
// could not tell the two apart.
func checkLabels(byLabels map[string]string, name, settings *yaml.Node, t Target) *Fault {
	if t.Disabled {
		return nil
	}
	labels := map[string]string{"job": name.Value}
	maps.Copy(labels, t.Labels)
	key := fmt.Sprintf("%q", labels)
	if other := byLabels[key]; other != "" {
		return wrongValue(cmp.Or(lineOf(settings, "labels"), name.Line), "its labels are those of target %q too; "+
			"change one, so that Prometheus can tell the two apart", other)
	}
	byLabels[key] = name.Value
	return nil
}
