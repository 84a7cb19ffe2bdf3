package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests in this file try the examples in the documents.

// block is an example in a document.
type block struct {
	document string
	language string // of a fence, such as yaml; empty if it has none
	text     string
}

// blocks returns the examples in all documents.
func blocks(t *testing.T) (all []block) {
	t.Helper()
	for _, path := range documents(t) {
		find := markdownBlocks
		if !strings.HasSuffix(path, ".md") {
			find = mdocBlocks
		}
		for _, b := range find(readDocument(t, path)) {
			b.document = path
			all = append(all, b)
		}
	}
	if len(all) == 0 {
		missing(t, "there are no documents")
	}
	return all
}

// markdownBlocks returns the fenced and the indented blocks of text.
func markdownBlocks(text string) (found []block) {
	var b *block
	fence, afterBlank := "", true
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		opens := strings.HasPrefix(trimmed, "```")
		switch {
		case fence == "" && opens:
			fence, _, _ = strings.Cut(line, "`")
			found = append(found, block{language: strings.TrimLeft(trimmed, "`")})
			b = &found[len(found)-1]
			fence += "```"
		case fence != "" && opens:
			fence, b = "", nil
		case fence != "":
			b.text += strings.TrimPrefix(line, strings.TrimSuffix(fence, "```"))
		case strings.HasPrefix(line, "    ") && afterBlank:
			if b == nil {
				found = append(found, block{})
				b = &found[len(found)-1]
			}
			b.text += line[4:]
			continue // so that the next line, too, is part of the block
		case trimmed == "" && b != nil:
			b.text += "\n"
		default:
			b = nil
		}
		afterBlank = trimmed == "" && fence == ""
	}
	return found
}

// mdocBlocks returns the displays of a man page.
func mdocBlocks(text string) (found []block) {
	unescape := strings.NewReplacer(`\e`, `\`, `\&`, "", `\-`, "-")
	for _, display := range words(text, `(?m)^\.Bd -literal.*\n((?s:.*?))^\.Ed$`) {
		found = append(found, block{text: unescape.Replace(display)})
	}
	for _, line := range words(text, `(?m)^\.Dl (.*)`) {
		found = append(found, block{text: unescape.Replace(line) + "\n"})
	}
	return found
}

// Commands in the documents have flags that the program knows, with valid values.
func TestExampleCommands(t *testing.T) {
	t.Parallel()
	// Also after sudo, runuser -u aegis -- and the like, and in units.
	command := regexp.MustCompile(`(?m)^(?:.*(?:-- |sudo |\$ |/))?(?:aegis|go run \./cmd/aegis)` +
		`( (?:serve|check|demo)\b.*| -.*)$`)
	inline := regexp.MustCompile("`(?:aegis|go run \\./cmd/aegis)( [^`]*)`")
	try := func(document, line string) {
		line = regexp.MustCompile(` (#|\||>|&&|;).*`).ReplaceAllString(line, "")
		args := strings.Fields(strings.NewReplacer(`'`, "", `"`, "").Replace(line))
		if args[0] == "--" { // after nix run
			args = args[1:]
		}
		t.Logf("%s: aegis %q", document, args)
		if err := parses(t, args); err != nil {
			t.Errorf("%s: aegis%s: %v", document, line, err)
		}
	}
	for _, b := range blocks(t) {
		text := strings.ReplaceAll(b.text, "\\\n", " ")
		for _, match := range command.FindAllStringSubmatch(text, -1) {
			try(b.document, match[1])
		}
	}
	for _, path := range documents(t) {
		for _, match := range inline.FindAllStringSubmatch(readDocument(t, path), -1) {
			try(path, strings.ReplaceAll(match[1], "\n", " "))
		}
	}
}

// Units and drop-ins in the documents are accepted by systemd.
func TestExampleUnits(t *testing.T) {
	t.Parallel()
	installed(t, "systemd-analyze", "systemd")
	isUnit := regexp.MustCompile(`(?m)^\[(Unit|Service|Socket|Install)\]$`)
	for _, b := range blocks(t) {
		if !isUnit.MatchString(b.text) {
			if b.language == "ini" {
				t.Errorf("%s: this is not a unit:\n%s", b.document, b.text)
			}
			continue
		}
		dir := t.TempDir()
		// Programs that are not installed here are replaced by one that is.
		text := regexp.MustCompile(`(?m)^(Exec\w+=)[/%]\S+`).ReplaceAllString(b.text, "${1}/bin/true")
		// A drop-in lacks what the unit itself has.
		units := []string{writeFile(t, dir, "example.service", "[Service]\nExecStart=/bin/true\n")}
		if strings.Contains(text, "[Socket]") {
			units = append(units, writeFile(t, dir, "example.socket", "[Socket]\nListenStream=/run/example.sock\n"))
		}
		section := regexp.MustCompile(`(?m)^\[Socket\]\n(?:[^\[].*\n|\n)*`)
		dropIn(t, dir, "example.socket", strings.Join(section.FindAllString(text, -1), ""))
		dropIn(t, dir, "example.service", section.ReplaceAllString(text, ""))
		out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
		// It also complains about units of this machine.
		complaints := words(string(out), `(?m)^(.*\bexample\.(?:service|socket)\b.*)$`)
		if err != nil || len(complaints) > 0 {
			t.Errorf("%s: systemd-analyze verify: %v: %s\n%s", b.document, err, complaints, b.text)
		}
	}
}

// dropIn writes a drop-in of the unit called name in dir.
func dropIn(t *testing.T, dir, name, text string) {
	t.Helper()
	dir = filepath.Join(dir, name+".d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "example.conf", text)
}
