package check

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

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

// printReports prints the reports as JSON, or as a table with what is wrong below it.
func printReports(o Options, reports []report) error {
	if o.JSON {
		enc := json.NewEncoder(o.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(reports)
	}
	if len(reports) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(o.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tRESULT\tTIME\tBYTES\tSERIES")
	for _, r := range reports {
		fmt.Fprintf(w, "%s\t%s\t%.3fs\t%d\t%d\n", printable(r.Name), r.Result, r.Seconds, r.Bytes, r.Series)
	}
	if err := w.Flush(); err != nil {
		return err
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
