package target

import (
	"strings"
	"testing"
)

func TestSuggest(t *testing.T) {
	for name, want := range map[string]string{
		"absent":       "",
		"..":           "",
		"../a":         "a name has no slash",
		"a/b":          "a name has no slash",
		"fine/":        "use /fine, Aegis adds /metrics",
		"fine/metrics": "use /fine, Aegis adds /metrics",
		"metrics/fine": "use /fine, Aegis adds /metrics",
		"fine.sock":    "the name is fine, without .sock",
		"metrics.sock": "let its service use another name",
		"metrics/":     "Aegis' own pages are",
		"-/targets":    "Aegis' own pages are",
		"-/sd/":        "; leave out the slash at the end: /-/sd",
		"sd":           "Aegis' own pages are",
	} {
		got := Suggest(name)
		if want == "" && got != "" || want != "" && !strings.HasPrefix(got, "; ") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
