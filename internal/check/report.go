package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/target"
)

// report says how the scrape of one target went.
type report struct {
	Name    string        `json:"name"`
	Result  target.Result `json:"result"`
	Error   string        `json:"error,omitempty"`
	Seconds float64       `json:"seconds"`
	Bytes   int           `json:"bytes"`
	samples
	Features string    `json:"features,omitempty"` // that Prometheus needs to read it
	Lint     []problem `json:"lint,omitempty"`
}

// problem is a promlint.Problem. Metric is empty if it is about the whole exposition.
type problem struct {
	Metric string `json:"metric"`
	Text   string `json:"text"`
}

// collect receives the reports and returns them, sorted by name. It prints each as a row of a table as soon
// as it arrives, unless they are printed as JSON, and on a terminal how many there are so far.
func collect(o Options, arriving <-chan report) (reports []report, err error) {
	reports = []report{} // not null in JSON
	width := len("NAME")
	for _, name := range o.Names {
		width = max(width, len(printable(name)))
	}
	printRow := func(name string, values ...any) {
		if !o.JSON && err == nil {
			_, err = fmt.Fprintf(o.Stdout, "%-*s  %-12v  %9v  %9v  %8v\n", append([]any{width, name}, values...)...)
		}
	}
	if len(o.Names) > 0 {
		printRow("NAME", "RESULT", "TIME", "BYTES", "SERIES")
	}
	terminal := cmp.Or[io.Writer](o.Terminal, io.Discard)
	for tick := time.Tick(limits.ProgressInterval); ; {
		select {
		case <-tick:
			fmt.Fprintf(terminal, "\r%d of %d checked", len(reports), len(o.Names))
		case r, ok := <-arriving:
			fmt.Fprint(terminal, "\r\x1b[K") // clears the line
			if !ok {
				slices.SortFunc(reports, func(a, b report) int { return strings.Compare(a.Name, b.Name) })
				return reports, err
			}
			reports = append(reports, r)
			printRow(printable(r.Name), r.Result, fmt.Sprintf("%.3fs", r.Seconds), r.Bytes, r.Series)
		}
	}
}

// printReports prints the reports as JSON, or what is wrong with each, below the table.
func printReports(o Options, reports []report) error {
	if o.JSON {
		enc := json.NewEncoder(o.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(reports)
	}
	for _, r := range reports {
		for _, remark := range r.remarks() {
			fmt.Fprintf(o.Stdout, "\n%s: %s\n", printable(r.Name), remark)
		}
	}
	return nil
}

// remarks returns what is wrong with the target, a line each.
func (r report) remarks() (lines []string) {
	if r.Error != "" {
		return []string{r.Error}
	}
	if r.Features != "" {
		lines = append(lines, "only Prometheus 3.15 or later reads this format, with --enable-feature="+r.Features)
	}
	if r.Series == 0 {
		lines = append(lines, "its response has no samples: Prometheus reports it as up, with nothing in it")
	}
	if r.Repeated > 0 {
		lines = append(lines, fmt.Sprintf("%d of its samples repeat a series; Prometheus drops them", r.Repeated))
	}
	for _, p := range r.Lint {
		if p.Metric != "" {
			p.Text = strconv.QuoteToGraphic(p.Metric) + ": " + p.Text
		}
		lines = append(lines, "lint: "+printable(p.Text))
	}
	return lines
}

// printable replaces the characters of s, which may come from a service, that could control a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
