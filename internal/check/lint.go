package check

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// problem is a promlint.Problem. Metric is empty if it is about the whole exposition.
type problem struct {
	Metric string `json:"metric"`
	Text   string `json:"text"`
}

// String returns p in one line.
func (p problem) String() string {
	if p.Metric == "" {
		return printable(p.Text)
	}
	return strconv.QuoteToGraphic(p.Metric) + ": " + printable(p.Text)
}

// lint returns what promlint finds in e, which has been parsed.
func (e *exposition) lint() (problems []problem) {
	if e.mediaType() != "text/plain" {
		return []problem{{Text: "not linted: promlint reads only the text format"}}
	}
	body := e.body
	if len(body) > limits.MaxLintBody {
		return []problem{{Text: fmt.Sprintf("not linted: it is larger than %d MiB", limits.MaxLintBody>>20)}}
	}
	if len(body) > 0 && !bytes.HasSuffix(body, []byte("\n")) {
		problems = append(problems, problem{Text: "its last line does not end in a line feed"})
		body = append(slices.Clone(body), '\n')
	}
	found, err := promlint.New(bytes.NewReader(body)).Lint()
	if err != nil {
		return append(problems, problem{Text: "not linted: " + err.Error()})
	}
	for _, p := range found {
		problems = append(problems, problem(p))
	}
	return problems
}
