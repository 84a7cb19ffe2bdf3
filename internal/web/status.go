package web

import (
	"context"
	"fmt"
	"strings"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// status is how all targets are, in one line: how many sockets there are, how
// many are fine, and which fail and why.
func (s *Server) status(ctx context.Context) string {
	entries, err := s.targets.sweep(ctx)
	if err != nil {
		return err.Error()
	}
	var sockets, fine, unscraped, failing, unserved int
	var reasons []string
	for _, e := range entries {
		if e.Err != nil {
			if e.Err != errDisabled {
				unserved++
			}
			continue
		}
		sockets++
		t, ok := s.targets.known(e.Name)
		switch {
		case !ok || t.state.result == "":
			unscraped++
		case t.state.result == resultOK:
			fine++
		default:
			failing++
			if failing <= limits.MaxStatusTargets {
				reasons = append(reasons, fmt.Sprintf("%s: %v", e.Name, cause(t.state.err)))
			}
		}
	}
	parts := []string{fmt.Sprintf("%s in %s", plural(sockets, "socket"), s.folder), fmt.Sprintf("%d fine", fine)}
	if unscraped > 0 {
		parts = append(parts, fmt.Sprintf("%d not scraped yet", unscraped))
	}
	parts = append(parts, reasons...)
	if more := failing - len(reasons); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more fail", more))
	}
	if unserved > 0 {
		parts = append(parts, fmt.Sprintf("%d not served, GET / says why", unserved))
	}
	if err := s.staleFile(); err != nil {
		parts = append(parts, fmt.Sprintf("the targets file is broken and the one before stays in use: %v", err))
	}
	return strings.Join(parts, "; ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
