package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// The tests in this file compare the documents in .github with the repository.

// SECURITY.md has the values of the limits that it lists.
func TestSecurityHasTheLimits(t *testing.T) {
	t.Parallel()
	values := map[string]any{
		"MaxConns":              limits.MaxConns,
		"MaxTLSConns":           limits.MaxTLSConns,
		"MaxPreRequestBytes":    size(limits.MaxPreRequestBytes),
		"MaxRequestHead":        size(limits.MaxRequestHead),
		"ReadHeaderTimeout":     limits.ReadHeaderTimeout,
		"ClientIdleTimeout":     limits.ClientIdleTimeout,
		"WriteTimeout":          limits.WriteTimeout,
		"MaxUndrained":          limits.MaxUndrained,
		"MaxScrapes":            limits.MaxScrapes,
		"MaxScrapesPerTarget":   limits.MaxScrapesPerTarget,
		"MaxScrapeTimeout":      limits.MaxScrapeTimeout,
		"MaxWrongPasswords":     limits.MaxWrongPasswords,
		"WrongPasswordInterval": limits.WrongPasswordInterval,
		"MaxResponseHead":       size(limits.MaxResponseHead),
		"MaxBufferedBody":       size(limits.MaxBufferedBody),
		"MaxBufferedTotal":      size(limits.MaxBufferedTotal),
		"MaxDecompressed":       size(limits.MaxDecompressed),
		"MaxVarlinkReply":       size(limits.MaxVarlinkReply),
		"MaxVarlinkValues":      limits.MaxVarlinkValues,
		"MaxVarlinkMessage":     size(limits.MaxVarlinkMessage),
		"MaxVarlinkScrapes":     limits.MaxVarlinkScrapes,
		"BackendIdleTimeout":    limits.BackendIdleTimeout,
		"MaxTargets":            limits.MaxTargets,
		"MaxTargetsFileSize":    size(limits.MaxTargetsFileSize),
		"MemoryLimit":           size(limits.MemoryLimit),
	}
	var want []string
	for name, value := range values {
		text := fmt.Sprint(value)
		if n, ok := value.(int); ok && n >= 1000 {
			text = fmt.Sprintf("%d,%03d", n/1000, n%1000)
		}
		want = append(want, name+" "+regexp.MustCompile(`m0s$`).ReplaceAllString(text, "m"))
	}
	section := between(t, readDocument(t, ".github/SECURITY.md"), "\n## Limits\n", "## ")
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^|]*) \\|").FindAllStringSubmatch(section, -1) {
		got = append(got, row[1]+" "+row[2])
	}
	compare(t, "SECURITY.md", got, want)
}

// size is a number of bytes.
type size int

func (s size) String() string {
	if s >= 1<<20 {
		return fmt.Sprintf("%d MiB", s>>20)
	}
	return fmt.Sprintf("%d KiB", s>>10)
}

// CHANGELOG.md has the notes of this version, which .ci/release takes from it.
func TestChangelogHasTheVersion(t *testing.T) {
	t.Parallel()
	if !strings.Contains(readDocument(t, ".github/CHANGELOG.md"), "\n## "+version+"\n") {
		t.Errorf("CHANGELOG.md has no section for version %s", version)
	}
}

// CONTRIBUTING.md has a line for each package.
func TestContributingHasAllPackages(t *testing.T) {
	t.Parallel()
	packages, err := filepath.Glob(filepath.Join(root, "internal/*"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"cmd/aegis"}
	for _, dir := range packages {
		want = append(want, strings.TrimPrefix(dir, root+"/"))
	}
	compare(t, "CONTRIBUTING.md", words(readDocument(t, ".github/CONTRIBUTING.md"), "(?m)^\\| `((?:cmd|internal)/\\w+)` \\|"), want)
}

// Every test, benchmark and fuzz target that a document names exists, and so does what it has
// go test run.
func TestNamedTests(t *testing.T) {
	t.Parallel()
	var defined []string
	for _, dir := range []string{"cmd/*", "internal/*"} {
		sources, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range sources {
			text := readDocument(t, strings.TrimPrefix(source, root+"/"))
			defined = append(defined, words(text, `(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)...)
		}
	}
	for _, path := range documents(t) {
		text := readDocument(t, path)
		for _, name := range words(text, "`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`") {
			if !slices.Contains(defined, name) {
				t.Errorf("%s names %s, which does not exist", path, name)
			}
		}
		for _, pattern := range words(text, `go test .*-(?:run|bench|fuzz) '?([A-Z][\w|]+)`) {
			for name := range strings.SplitSeq(pattern, "|") {
				if !slices.ContainsFunc(defined, func(test string) bool { return strings.Contains(test, name) }) {
					t.Errorf("%s: go test has nothing to run that is called %s", path, name)
				}
			}
		}
	}
}

// Every link from one document to another, or to a heading, leads somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, path := range documents(t) {
		for _, link := range words(readDocument(t, path), `\]\(([^)\s]+)\)`) {
			if strings.Contains(link, "://") {
				continue
			}
			file, heading, _ := strings.Cut(link, "#")
			linked := path
			if file != "" {
				linked = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(filepath.Join(root, linked)); err != nil {
				t.Errorf("%s links to %s: %v", path, link, err)
			} else if heading != "" && !slices.Contains(headings(readDocument(t, linked)), heading) {
				t.Errorf("%s links to %s, which has no such heading", path, link)
			}
		}
	}
}

// headings returns the headings of a document as links name them.
func headings(text string) (found []string) {
	for _, heading := range words(text, `(?m)^#+ (.*)$`) {
		heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading), "")
		found = append(found, strings.ReplaceAll(heading, " ", "-"))
	}
	return found
}
