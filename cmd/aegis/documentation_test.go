package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The tests in this file compare the documentation with the program: what one has, the other
// must have too.

// root is the top of the repository.
const root = "../.."

// readDocument returns the text of a file that a test compares with the program. The package
// of Nix has no README.md when it runs the tests.
func readDocument(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		missing(t, err.Error())
	}
	return string(text)
}

// documents returns the paths of all documents.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"README.md", "nix/README.md", ".github/*.md", "nix/man/*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			paths = append(paths, strings.TrimPrefix(path, root+"/"))
		}
	}
	return paths
}

// flags are the flags of a command, with what stands for the value; empty if there is none.
type flags map[string]string

// helpFlags returns the flags of each command in the output of aegis -help.
func helpFlags(t *testing.T) map[string]flags {
	t.Helper()
	byCommand := make(map[string]flags)
	sections := regexp.MustCompile(`(?m)^Flags of (\w+):\n((?: .*\n)+)`)
	lines := regexp.MustCompile(`(?m)^  -(\S+)(?: ([A-Z]\S+))?(?:  |$)`)
	for _, section := range sections.FindAllStringSubmatch(usage, -1) {
		of := flags{"help": ""}
		for _, flag := range lines.FindAllStringSubmatch(section[2], -1) {
			of[flag[1]] = flag[2]
		}
		byCommand[section[1]] = of
	}
	if got := sorted(byCommand); !slices.Equal(got, []string{"check", "demo", "serve"}) {
		t.Fatalf("aegis -help has the flags of %v", got)
	}
	byCommand["serve"]["version"] = ""
	return byCommand
}

// The flags of aegis -help are those that the program defines.
func TestHelpHasAllFlags(t *testing.T) {
	t.Parallel()
	definition := regexp.MustCompile(`\bfs\.(?:String|Bool|Func|Duration|Int)(?:Var)?\((?:&[\w.]+, )?"([\w.-]+)"`)
	defined := map[string]bool{"help": true}
	sources, err := filepath.Glob("*.go")
	if err != nil || len(sources) == 0 {
		t.Fatal(sources, err)
	}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		for _, match := range definition.FindAllStringSubmatch(readDocument(t, "cmd/aegis/"+source), -1) {
			defined[match[1]] = true
		}
	}
	described := make(map[string]bool)
	for command, of := range helpFlags(t) {
		for name := range of {
			described[name] = true
			args := []string{command, "-" + name}
			if of[name] != "" {
				args = append(args, valueFor(name))
			}
			if err := parses(t, args); err != nil {
				t.Errorf("aegis -help has -%s among the flags of %s: %v", name, command, err)
			}
		}
	}
	compare(t, "the flags of aegis -help", sorted(described), sorted(defined))
}

// valueFor returns a valid value for a flag.
func valueFor(flag string) string {
	values := map[string]string{
		"allow": "10.0.0.0/8", "log.level": "warn", "output": "json", "timeout": "5s",
		"web.external-url": "https://host.example.org/aegis",
	}
	if value, ok := values[flag]; ok {
		return value
	}
	return "x"
}

// parses returns an error unless the program accepts the flags in args, the words after aegis.
func parses(t *testing.T, args []string) error {
	t.Helper()
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	known := helpFlags(t)[command]
	given := []string{command}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		n := 1
		if known[strings.TrimLeft(args[0], "-")] != "" {
			n = min(2, len(args))
		}
		given, args = append(given, args[:n]...), args[n:]
	}
	var stderr lockedBuffer
	// With -help last, the program parses the flags before it and does nothing else.
	if code := run(append(given, "-help"), process{stdout: new(lockedBuffer), stderr: &stderr}); code != 0 {
		return fmt.Errorf("%s", stderr.String())
	}
	return nil
}

// aegis(8) has the flags of aegis -help, in the synopsis and where it describes them.
func TestManPageHasAllFlags(t *testing.T) {
	t.Parallel()
	page := readDocument(t, "nix/man/aegis.8")
	synopsis := between(t, page, ".Sh SYNOPSIS\n", ".Sh ")
	described := make(map[string][]string)
	for _, section := range strings.Split(between(t, page, ".Sh DESCRIPTION\n", ".Sh "), "\n.Ss ")[1:] {
		command, text, _ := strings.Cut(section, "\n")
		described[command] = words(text, `(?m)^\.It Fl (\S+)`)
	}
	for command, of := range helpFlags(t) {
		want := slices.DeleteFunc(sorted(of), func(name string) bool { return name == "help" || name == "version" })
		compare(t, "aegis(8), flags of "+command, described[command], want)
	}
	compare(t, "aegis(8), other flags", described["Other flags"], []string{"help", "version"})
	all := make(map[string]bool)
	for _, of := range helpFlags(t) {
		for name := range of {
			all[name] = true
		}
	}
	compare(t, "the synopsis of aegis(8)", words(synopsis, `\bFl (\S+)`), sorted(all))
}

// Each completion offers the flags of aegis -help for each command, and nothing else.
func TestCompletions(t *testing.T) {
	t.Parallel()
	const dir = root + "/nix/completions"
	for _, shell := range []struct{ name, file, script string }{
		{"bash", "aegis.bash", `source "$0"; COMP_WORDS=(aegis "$1" -) COMP_CWORD=2; _aegis
			printf '%s\n' "${COMPREPLY[@]}"`},
		{"fish", "aegis.fish", `source $argv[1]; complete -C "aegis $argv[2] -"`},
		// Outside of the line editor, _arguments does not work.
		{"zsh", "_aegis", `_arguments() { print -l -- ${@#\*} }
			f() { local -a words=(aegis $1 -); local CURRENT=3; source $file }
			file=$0; f $1`},
	} {
		t.Run(shell.name, func(t *testing.T) {
			t.Parallel()
			installed(t, shell.name, shell.name)
			readDocument(t, "nix/completions/"+shell.file)
			for command, of := range helpFlags(t) {
				path := filepath.Join(dir, shell.file)
				out, err := exec.Command(shell.name, "-c", shell.script, path, command).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				compare(t, "the completion of aegis "+command, words(string(out), `(?m)^-([a-z.-]+)`), sorted(of))
			}
		})
	}
}

// aegis(8) has every result of a scrape.
func TestManPageHasAllResults(t *testing.T) {
	t.Parallel()
	source := readDocument(t, "internal/target/result.go")
	section := between(t, readDocument(t, "nix/man/aegis.8"), ".Sh RESULTS\n", ".Sh ")
	compare(t, "aegis(8), results", words(section, `(?m)^\.It Cm (\w+)`), words(source, `\bResult += "(\w+)"`))
}

// aegis(8) has every metric of Aegis' own, with its labels.
func TestManPageHasAllMetrics(t *testing.T) {
	t.Parallel()
	section := between(t, readDocument(t, "nix/man/aegis.8"), ".Sh METRICS\n", ".Sh ")
	dir := t.TempDir()
	startService(t, dir, sample{name: "svc", handler: http.HandlerFunc(http.NotFound)})
	config := writeFile(t, t.TempDir(), "targets.yml", "targets: {}\n")
	p, addr := startAegis(t, dir, "-config.file", config)
	// Some metrics have no series before the first scrape, or before the first failed reload.
	getAs(http.DefaultClient, "http://"+addr+"/svc", "", "")
	writeFile(t, filepath.Dir(config), "targets.yml", "targets: [\n")
	p.cmd.Process.Signal(syscall.SIGHUP)
	p.awaitOutput(t, "keeping the previous targets file")
	exported := make(map[string]bool) // with the names of labels
	_, metrics := getAs(http.DefaultClient, "http://"+addr+"/metrics", "", "")
	for _, line := range regexp.MustCompile(`(?m)^(aegis_\w+)(\{.*\})? `).FindAllStringSubmatch(metrics, -1) {
		name := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(line[1], "")
		labels := slices.Sorted(slices.Values(words(line[2], `(\w+)="`)))
		if name != line[1] && len(labels) == 0 { // the sum and the count of a histogram
			continue
		}
		exported[strings.TrimSpace(name+" "+strings.Join(labels, ","))] = true
	}
	var described []string
	for _, item := range words(section, `(?m)^\.It Cm (.*)`) {
		described = append(described, strings.Replace(item, " Brq ", " ", 1))
	}
	compare(t, "aegis(8), metrics", described, sorted(exported))
}

// aegis-targets(5) has every key of the targets file.
func TestManPageHasAllKeys(t *testing.T) {
	t.Parallel()
	page := readDocument(t, "nix/man/aegis-targets.5")
	var known []string
	for _, file := range []string{"targets: {svc: {unknown: 1}}", "targets: {svc: {allow: {unknown: 1}}}"} {
		// The error lists the keys.
		_, err := readTargetsFile(writeFile(t, t.TempDir(), "targets.yml", file))
		_, list, _ := strings.Cut(fmt.Sprint(err), "the keys of ")
		_, list, _ = strings.Cut(list, " are ")
		known = append(known, words(list, `(\w+)(?:,| and|$)`)...)
	}
	if len(known) < 8 {
		t.Fatalf("the parser's errors list only the keys %v", known)
	}
	compare(t, "aegis-targets(5)", words(page, `(?m)^\.It Ic (\w+)`), known)
	_, err := readTargetsFile(writeFile(t, t.TempDir(), "targets.yml", "targets: {svc: {content_type: text/html}}"))
	_, types, _ := strings.Cut(fmt.Sprint(err), " is not one of ")
	compare(t, "aegis-targets(5), types", words(page, `(?m)^\.Ql (.*; version=.*)$`), strings.Split(types, ", "))
}

// between returns the part of text after start and before the next end.
func between(t *testing.T, text, start, end string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, start)
	part, _, _ := strings.Cut(rest, "\n"+end)
	if !found {
		t.Fatalf("there is no %q", start)
	}
	return part
}

// words returns what the first group of pattern matches in text.
func words(text, pattern string) (found []string) {
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

func sorted[M ~map[string]V, V any](m M) []string { return slices.Sorted(maps.Keys(m)) }

// compare fails unless got and want have the same elements; how often and in which order does
// not matter.
func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%s: %s is missing", what, w)
		}
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("%s: there is no %s in the program", what, g)
		}
	}
}
