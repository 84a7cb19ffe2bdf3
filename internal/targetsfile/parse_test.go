package targetsfile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// faultCase is the text of a targets file and what its error must contain.
type faultCase struct{ text, want string }

func checkFaults(t *testing.T, cases []faultCase) {
	t.Helper()
	for _, tt := range cases {
		path := writeFile(t, tt.text)
		_, err := Read(path)
		if err == nil {
			t.Errorf("%.60q: no error, want one with %q", tt.text, tt.want)
			continue
		}
		got := err.Error()
		if !strings.Contains(got, tt.want) || !strings.Contains(got, path) || strings.Contains(got, "\n") {
			t.Errorf("%.60q: %q\nwant one line with the file's name and %q", tt.text, got, tt.want)
		}
	}
}

func TestTargetsAndKeys(t *testing.T) {
	checkFaults(t, []faultCase{
		{
			"target:\n  x: {}\n",
			`line 1: unknown key "target"; did you mean targets? the only key is targets, with the names indented below it`,
		},
		{
			"targets:\n  x:\n    pfad: /m\n",
			`line 3: target "x": unknown key "pfad"; the keys of a target are socket, protocol,`,
		},
		{
			"targets:\n  x:\n    Content-type: /m\n",
			`line 3: target "x": unknown key "Content-type"; did you mean content_type? the keys of a target are socket,`,
		},
		{"targets: [x]\n", "line 1: targets must be a mapping of names to settings, not a list"},
		{
			"targets:\n  a:\n    path:/m\n",
			`line 3: target "a": its value must be a mapping with the keys socket, protocol`,
		},
		{
			"targets:\n  a:\n    path:/m\n",
			`enabled and allow, not "path:/m"; put a space after the colon`,
		},
		{"- a\n", "line 1: the file must be a mapping with the key targets, not a list"},
		{"targets:\n  ../x: {}\n", `line 2: target "../x": not a valid name`},
		{
			"targets:\n  a: {}\n  svc.sock: {path: /x}\n",
			`line 3: target "svc.sock": this is the name of a socket; the name of the target is "svc", without .sock`,
		},
		{
			"targets:\n  x: {path:/x}\n",
			`unknown key "path:/x"; the keys of a target are socket, protocol, path, params, host, content_type, labels, timeout, enabled and allow; put a space after the colon`,
		},
		{
			"targets:\n  metrics: {socket: /m.sock}\n",
			`line 2: target "metrics": this name is reserved, because /metrics serves Aegis' own metrics; give the target another name, and set its socket here`,
		},
		{"tls_server_config: {}\n", "line 1: unknown key \"tls_server_config\"; this is a file for -web.config.file"},
	})
}

func TestDuplicateLabelsInFile(t *testing.T) {
	checkFaults(t, []faultCase{
		{
			"targets:\n  a: {labels: {job: b}}\n  c: {}\n  b: {path: /b}\n",
			`line 4: target "b": its labels are those of target "a" too; change one, so that Prometheus can tell the two apart`,
		},
		{
			"targets:\n  a:\n    labels: {job: x, part: one}\n  b:\n    path: /m\n    labels: {part: one, job: x}\n",
			`line 6: target "b": its labels are those of target "a" too`,
		},
	})
}

// A target of the file can have the same labels as one that is only in the socket directory.
func TestDuplicateLabels(t *testing.T) {
	exists := func(name string) bool { return name == "other" }
	for text, want := range map[string]string{
		"a: {labels: {job: other}}":                             "a other",
		"a: {labels: {job: other, team: x}}":                    " ",
		"a: {labels: {job: other}, enabled: false}":             " ",
		"a: {labels: {job: missing}}":                           " ",
		"a: {labels: {job: other}}, other: {labels: {team: x}}": " ",
		"other: {timeout: 5s}":                                  " ",
	} {
		f, err := parse(fmt.Appendf(nil, "targets: {%s}", text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if a, b := f.DuplicateLabels(exists); a+" "+b != want {
			t.Errorf("%s: %q and %q, want %q", text, a, b, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("targets:\n  x: {path: /m, labels: {a: b}, allow: {addresses: [::1]}}\n"))
	f.Add([]byte("targets: &a\n  x: *a\n"))
	f.Add([]byte("targets:\n  x:\n    timeout: !!binary aGVsbG8=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := parse(text)
		if err != nil {
			if fault := (*Fault)(nil); !errors.As(err, &fault) || fault.Line < 0 {
				t.Errorf("%+v is not a fault", err)
			}
			return
		}
		for name, target := range file.Targets {
			if strings.ContainsAny(target.Path, " \r\n?") || !strings.HasPrefix(target.Path, "/") {
				t.Errorf("target %q has the path %q", name, target.Path)
			}
		}
	})
}
