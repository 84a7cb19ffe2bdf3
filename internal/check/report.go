package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"tulpa.dev/cadey/aegis/internal/socketdir"
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
	Lint []problem `json:"lint,omitempty"`
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
		took := time.Duration(r.Seconds * float64(time.Second)).Round(10 * time.Microsecond)
		fmt.Fprintf(w, "%s\t%s\t%v\t%d\t%d\n", printableName(r.Name), r.Result, took, r.Bytes, r.Series)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range reports {
		for _, remark := range r.remarks() {
			fmt.Fprintf(o.Stdout, "\n%s: %s\n", printableName(r.Name), remark)
		}
	}
	return nil
}

// remarks returns what is wrong with the target, a line each.
func (r report) remarks() (lines []string) {
	if r.Error != "" {
		return []string{r.Error}
	}
	if r.Series == 0 {
		lines = append(lines, "its response has no samples: Prometheus reports it as up, with nothing in it")
	}
	if r.Repeated > 0 {
		lines = append(lines, fmt.Sprintf("%d of its samples repeat a series; Prometheus drops them", r.Repeated))
	}
	for _, p := range r.Lint {
		lines = append(lines, "lint: "+p.String())
	}
	return lines
}

// printNotServed prints what is not served in dir and why, and says so if no socket was
// scraped at all.
func printNotServed(w io.Writer, dir socketdir.Dir, notServed []target.Entry, scraped int) {
	for _, e := range notServed {
		fmt.Fprintf(w, "%s is not served: %s\n", printableName(e.File), target.Detail(e.Err))
	}
	switch {
	case scraped > 0:
	case len(notServed) > 0:
		fmt.Fprintf(w, "There is nothing else in %s, so no socket was scraped.\n", dir)
	default:
		fmt.Fprintf(w, "There is no socket in %s; name another directory with -sockdir.\n", dir)
	}
}

// printable replaces the characters of s, which may come from a service, that could control
// a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// printableName returns name, quoted if it is not a valid name.
func printableName(name string) string {
	if socketdir.ValidName(name) {
		return name
	}
	return strconv.Quote(name)
}
