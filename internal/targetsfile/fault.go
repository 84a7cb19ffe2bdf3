package targetsfile

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Reason is the kind of a fault.
type Reason string

// What can be wrong with a targets file.
const (
	Unreadable Reason = "unreadable"  // the file itself
	Syntax     Reason = "syntax"      // it is not YAML
	UnknownKey Reason = "unknown_key" // it says what nothing is known of
	WrongValue Reason = "wrong_value" // it says what cannot be
)

// Fault is what is wrong with a targets file.
type Fault struct {
	Reason Reason
	Line   int // from 1; 0 where there is none
	err    error
}

// Error returns the line and what is wrong there.
func (f *Fault) Error() string {
	if f.Line == 0 {
		return f.err.Error()
	}
	return fmt.Sprintf("line %d: %v", f.Line, f.err)
}

// Unwrap returns what is wrong.
func (f *Fault) Unwrap() error { return f.err }

func wrongAt(line int, format string, args ...any) *Fault {
	return &Fault{Reason: WrongValue, Line: line, err: fmt.Errorf(format, args...)}
}

// libraryError is what the YAML library says: mostly with a line.
var libraryError = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s+)?(?:line (\d+): )?(.*)`)

func parts(err error) (line int, says string) {
	m := libraryError.FindStringSubmatch(err.Error())
	line, _ = strconv.Atoi(m[1])
	return line, m[2]
}

// syntaxFault is err, of text that is not YAML. The line that the library has is
// that before the block of what is wrong, or missing, in some of its errors.
func syntaxFault(text []byte, err error) *Fault {
	line, says := parts(err)
	switch {
	case strings.HasPrefix(says, "did not find expected ',' or"):
		line = min(line, bytes.Count(text, []byte("\n"))) + 1
	case line == 0, strings.HasPrefix(says, "did not find expected"):
		line = firstBroken(text, says)
	}
	switch {
	case strings.HasPrefix(says, "did not find expected ',' or"):
		says += "; a bracket is not closed, or a value with a colon and a space needs quotes"
	case strings.HasPrefix(says, "did not find expected key"), strings.HasPrefix(says, "did not find expected '-'"):
		says += "; it is indented unlike the lines around it, or a quote or bracket is missing"
	case strings.HasPrefix(says, "mapping values are not allowed"):
		says += "; a colon is missing in the line before, or a value with a colon and a space needs quotes"
	case strings.HasPrefix(says, "did not find expected node content"):
		says += "; what begins with a colon, as ::1 does, needs quotes, and a bracket its end"
	case strings.HasPrefix(says, "found unexpected end of stream"):
		says += "; a quote is not closed"
	case strings.HasPrefix(says, "found character that cannot start"):
		says += "; a tab indents nothing, and what begins with @, % or ` needs quotes"
	}
	return &Fault{Reason: Syntax, Line: line, err: errors.New(says)}
}

// firstBroken returns the line with which text first fails as says. Whatever
// comes after it changes nothing of that.
func firstBroken(text []byte, says string) int {
	lines := bytes.SplitAfter(text, []byte("\n"))
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		err := yaml.Unmarshal(bytes.Join(lines[:i+1], nil), new(yaml.Node))
		if err == nil {
			return false
		}
		_, same := parts(err)
		return same == says
	})
}

const targetKeys = "socket, path, protocol, labels, timeout, enabled and allow"

// inWords replaces names of Go and YAML by what the reader of a targets file knows.
var inWords = strings.NewReplacer(
	" in type config.source", "; known is targets, and the names of these stand under it, indented",
	" in type config.targetSource", "; known are "+targetKeys,
	" into config.source", " for a targets file, which begins with targets:",
	" into config.targetSource", " for a target, which has "+targetKeys,
	" into map[string]config.targetSource", " for targets, which has names, and under each what goes for it",
	" into map[string]string", " for labels, which have names and values",
	" into []string", " for a list, such as [a, b]",
	" into string", " for text",
	" into bool", " for true or false, which have no quotes",
	"cannot unmarshal ", "cannot take ",
	"!!seq", "a list", "!!map", "a mapping", "!!str", "the text", "!!int", "the number", "!!float", "the number", "!!bool", "the truth value",
)

// anonymous is the type of allow, which has no name.
var anonymous = regexp.MustCompile(` (in type|into) struct \{.*`)

// withoutSpace is what is said of a key and a value that became one text.
var withoutSpace = regexp.MustCompile("cannot take the text `[a-z]+:[^ ]|^field [a-z]+:[^ ]")

// webConfigKey is what is said of a key of the other file that Aegis takes.
var webConfigKey = regexp.MustCompile(`^field (tls_server_config|basic_auth_users|http_server_config|rate_limit) not found`)

// meaningFault is err, of YAML that does not mean a targets file.
func meaningFault(document *yaml.Node, err error) *Fault {
	first, _, more := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n"), "\n")
	line, says := parts(errors.New(strings.TrimSpace(first)))
	f := &Fault{Reason: WrongValue, Line: line}
	if strings.Contains(says, " not found in type ") {
		f.Reason = UnknownKey
	}
	says = anonymous.ReplaceAllStringFunc(says, func(s string) string {
		if strings.HasPrefix(s, " into") {
			return " for allow, which has addresses and certificates"
		}
		return "; known are addresses and certificates"
	})
	says = inWords.Replace(says)
	if where := whereAt(document, line); where != "" && strings.HasPrefix(says, "cannot take") {
		says = where + ": " + says
	}
	if withoutSpace.MatchString(says) {
		says += "; a colon takes a space after it"
	}
	if field := webConfigKey.FindString(says); field != "" {
		says = field + "; this is a file for -web.config.file"
	}
	if more {
		says += " (and more after that)"
	}
	f.err = errors.New(says)
	return f
}

// whereAt returns which target is written in a line, and which of its keys if one is
// there alone; "" if none is.
func whereAt(document *yaml.Node, line int) (where string) {
	for name, target := range values(value(document, "targets")) {
		for i := 0; i+1 < len(target.Content) && target.Kind == yaml.MappingNode; i += 2 {
			key, under := target.Content[i], target.Content[i+1]
			switch {
			case line < key.Line || line > last(under):
			case where != "": // There is more in that line.
				return fmt.Sprintf("target %q", name)
			default:
				where = fmt.Sprintf("target %q: %s", name, key.Value)
			}
		}
	}
	return where
}

// last returns the last line in which something of node begins.
func last(node *yaml.Node) int {
	line := node.Line
	for _, child := range node.Content {
		line = max(line, last(child))
	}
	return line
}
