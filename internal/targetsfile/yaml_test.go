package targetsfile

import (
	"fmt"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
)

func TestNodes(t *testing.T) {
	var many strings.Builder
	for i := range limits.MaxTargets + 1 {
		fmt.Fprintf(&many, " x%d: {}\n", i)
	}
	checkFaults(t, []faultCase{
		{"targets:\n  x: {}\n  x: {}\n", `line 3: duplicate key "x"; line 2 has it too`},
		{
			"targets:\n  a:\n    timeout: !!binary x\n",
			"line 3: tags (!!binary) are not allowed",
		},
		{"a: 1\na: 2\n", `line 2: duplicate key "a"; line 1 has it too`},
		{strings.Repeat("a: 1\n", 200_000), `line 2: duplicate key "a"; line 1 has it too`},
		{
			"targets:\n  x:\n    labels: {a: b, c: d, a: e}\n",
			`line 3: duplicate key "a"; line 3 has it too`,
		},
		{
			"targets:\n  ~: {allow: {addresses: [10.0.0.1]}}\n",
			`line 2: target "~": not a valid name`,
		},
		{
			"targets:\n  x: &a {allow: {addresses: [10.0.0.1]}}\n  y: *a\n",
			"line 3: aliases (*) and merges (<<) are not allowed",
		},
		{"targets:\n  x:\n    <<: {allow: }\n", "line 3: aliases (*) and merges (<<) are"},
		{
			"targets:\n  x:\n    labels: {a: &n ~}\n    allow: *n\n",
			"line 4: aliases (*) and merges (<<) are",
		},
		{"targets:\n" + many.String(), "line 2: there are 10001 targets; the limit is 10000"},
		{strings.Repeat("#", limits.MaxTargetsFileSize+1), "is larger than 4 MiB"},
		{"targets:\n  ? [a, b]\n  : {}\n", "line 2: a key must be a word, not a list"},
		{"targets:\n  a: {? {b: c} : d}\n", "line 2: a key must be a word, not a mapping"},
		{"? [targets]\n: {}\n", "line 1: a key must be a word, not a list"},
	})
}

func TestSyntax(t *testing.T) {
	checkFaults(t, []faultCase{
		{"", "the file is empty; for a file without targets, write targets: {}"},
		{"# targets:\n", "the file is empty"},
		{"targets:\n  x:\n\tpath: /m\n", "line 3: found character that cannot start any token"},
		{
			"targets:\n  a:\n    path: /m\n   timeout: 5s\n  b: {}\n",
			"line 4: did not find expected key; indent the line like those around it",
		},
		{"targets:\n  - a\n  b: {}\n", "line 3: did not find expected '-' indicator"},
		{
			"targets:\n  a:\n    allow: {addresses: [10.0.0.1}\n",
			"line 3: did not find expected ',' or ']'; close the bracket",
		},
		{
			"targets:\n  a: {path: /m,\n    timeout: 5s}\n  b: {path: /m\n  c: {}\n",
			"line 4: did not find expected ',' or '}'",
		},
		{"targets: {a: b: c}\n", "line 1: did not find expected ',' or '}'"},
		{
			"targets:\n  a:\n    path: \"/m\n    timeout: 5s\n",
			"line 3: found unexpected end of stream; close the quote",
		},
		{
			"targets:\n  a:\n    path /m\n    timeout: 5s\n",
			"line 4: mapping values are not allowed in this context; add the colon that the line before lacks",
		},
		{"targets:\n  a:\n    path: /\x07\n", "line 3: control characters are not allowed"},
		{"targets:\n  a:\n    path: /\xff\n", "line 3: invalid leading UTF-8 octet"},
		{"targets:\n  a:\n    path: *x\n", "line 3: unknown anchor 'x' referenced"},
		{
			"targets:\n  a:\n    labels: {team: a: b}\n",
			"or put quotes around a value that contains a colon and a space",
		},
		{"targets: {}\n---\ntargets: {}\n", "line 2: a second document starts here"},
		{"---\n", "the file is empty"},
	})
}
