package targetsfile

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tulpa.dev/cadey/aegis/internal/suggest"
)

// parseYAML returns the root node of text, which must be a single YAML document without duplicate
// keys, aliases, merges and tags.
func parseYAML(text []byte) (*yaml.Node, *Fault) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	if err := decoder.Decode(&document); err != nil && err != io.EOF {
		return nil, syntaxFault(text, err)
	}
	if document.Kind == 0 || isNull(document.Content[0]) {
		return nil, wrongValue(0, "the file is empty; for a file without targets, write targets: {}")
	}
	if err := decoder.Decode(&second); err != io.EOF {
		return nil, wrongValue(second.Line, "a second document starts here; put all targets in the first")
	}
	return document.Content[0], checkNode(document.Content[0])
}

// hints say what to do about an error of the YAML library, by how the error begins.
var hints = []struct{ prefix, hint string }{
	{"did not find expected ',' or", "close the bracket, or " + quoteColon},
	{"did not find expected key", misindented},
	{"did not find expected '-'", misindented},
	{"mapping values are not allowed", "add the colon that the line before lacks, or " + quoteColon},
	{"did not find expected node content", "put quotes around a value that begins with a colon, " +
		"such as ::1, and close each bracket"},
	{"found unexpected end of stream", "close the quote"},
	{"found character that cannot start", "indent with spaces instead of tabs, and put quotes " +
		"around a value that begins with @, % or `"},
}

const (
	misindented = "indent the line like those around it, or close a quote or bracket before it"
	quoteColon  = "put quotes around a value that contains a colon and a space"
)

var libraryError = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)`)

// syntaxFault returns the fault of text that is not YAML. In some of the library's errors, the
// line is missing or is where the enclosing block begins.
func syntaxFault(text []byte, err error) *Fault {
	match := libraryError.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(match[1])
	reason := match[2]
	switch {
	case strings.HasPrefix(reason, "did not find expected ',' or"):
		line = min(line, bytes.Count(text, []byte("\n"))) + 1
	case line == 0, strings.HasPrefix(reason, "did not find expected"):
		line = firstLineWith(text, reason)
	}
	for _, h := range hints {
		if strings.HasPrefix(reason, h.prefix) {
			reason += "; " + h.hint
		}
	}
	return &Fault{Syntax, line, reason}
}

// firstLineWith returns the number of the line that makes text fail to parse for reason. Every longer
// part of text fails for the same reason, so a binary search finds the line.
func firstLineWith(text []byte, reason string) int {
	lines := bytes.SplitAfter(text, []byte("\n"))
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		err := yaml.Unmarshal(bytes.Join(lines[:i+1], nil), new(yaml.Node))
		return err != nil && strings.HasSuffix(err.Error(), ": "+reason)
	})
}

// checkNode returns a fault if node, or a node in it, uses a part of YAML that is not allowed, or
// if the keys of a mapping are not different words. Aliases and merges are not allowed, so that
// each target shows which scrapers it allows.
func checkNode(node *yaml.Node) *Fault {
	switch {
	case node.Kind == yaml.AliasNode, node.Tag == "!!merge":
		return wrongValue(node.Line, "aliases (*) and merges (<<) are not allowed; write the value out")
	case node.Style&yaml.TaggedStyle != 0:
		return wrongValue(node.Line, "tags (%s) are not allowed; put text in quotes instead", node.Tag)
	}
	lines := make(map[string]int) // of the keys
	for i, child := range node.Content {
		if fault := checkNode(child); fault != nil {
			return fault
		}
		switch first := lines[child.Value]; {
		case node.Kind != yaml.MappingNode || i%2 == 1: // not a key
			continue
		case child.Kind != yaml.ScalarNode:
			return wrongValue(child.Line, "a key must be a word, not %s", describe(child))
		case first > 0:
			return wrongValue(child.Line, "duplicate key %q; line %d has it too", child.Value, first)
		}
		lines[child.Value] = child.Line
	}
	return nil
}

func wrongValue(line int, format string, args ...any) *Fault {
	return &Fault{WrongValue, line, fmt.Sprintf(format, args...)}
}

// unknownKey returns the fault of a key that the file must not have. The advice says which keys
// it may have; the author may have meant one of known.
func unknownKey(key *yaml.Node, advice string, known ...string) *Fault {
	if nearest := suggest.Nearest(key.Value, known); nearest != "" {
		advice = fmt.Sprintf("did you mean %s? %s", nearest, advice)
	}
	return &Fault{UnknownKey, key.Line, fmt.Sprintf("unknown key %q; %s%s", key.Value, advice, colonHint(key))}
}

// expect returns a fault unless node is of kind. The fault begins with key and says that it must
// be what.
func expect(node *yaml.Node, kind yaml.Kind, key, what string) *Fault {
	if isNull(node) {
		return wrongValue(node.Line, "%s has no value; remove it or give it one", key)
	}
	if node.Kind != kind {
		return wrongValue(node.Line, "%s must be %s, not %s%s", key, what, describe(node), colonHint(node))
	}
	return nil
}

func isNull(node *yaml.Node) bool { return node.Tag == "!!null" }

// describe returns what node is: the start of its text, or its kind.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	}
	return fmt.Sprintf("%.60q", node.Value)
}

// colonHint returns what to do if a missing space has made a key and its value one word.
func colonHint(node *yaml.Node) string {
	if node.Kind == yaml.ScalarNode && strings.Contains(node.Value, ":") {
		return "; put a space after the colon"
	}
	return ""
}

// entries yields the keys of mapping and their values, in the order of the file.
func entries(mapping *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			if !yield(mapping.Content[i], mapping.Content[i+1]) {
				return
			}
		}
	}
}

// lineOf returns the line of the value of key in mapping, 0 if it has no such key.
func lineOf(mapping *yaml.Node, key string) int {
	for k, value := range entries(mapping) {
		if k.Value == key {
			return value.Line
		}
	}
	return 0
}
