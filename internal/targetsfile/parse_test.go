package targetsfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "targets.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	for _, text := range []string{"targets:\n", "targets: {}\n", "targets:\n  # x: {}\n"} {
		if f, err := Read(write(t, text)); err != nil || len(f.Targets) != 0 {
			t.Errorf("%q: %v, %v; want a file that says nothing", text, f, err)
		}
	}
	f, err := Read(write(t, `targets:
  billing:
    path: /internal/metrics
    labels: {team: money, job: billing-eu}
    timeout: 2500ms
    allow:
      addresses: [10.100.0.0/24, "::ffff:10.0.0.1"]
      certificates: [prometheus.example.com]
  ostree: {socket: /run/rpm-ostreed.promsock, protocol: raw}
  secret: {enabled: false}
  plain:
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"billing": "{ /internal/metrics false map[job:billing-eu team:money] 2.5s false &{[10.100.0.0/24 10.0.0.1/32] [prometheus.example.com]}}",
		"ostree":  "{/run/rpm-ostreed.promsock /metrics true map[] 0s false <nil>}",
		"secret":  "{ /metrics false map[] 0s true <nil>}",
		"plain":   "{ /metrics false map[] 0s false <nil>}",
		"unnamed": "{ /metrics false map[] 0s false <nil>}",
	} {
		target := f.Target(name)
		got := fmt.Sprintf("%v", target)
		if target.Allow != nil {
			got = strings.Replace(got, fmt.Sprintf("%p", target.Allow), fmt.Sprintf("%v", target.Allow), 1)
		}
		if got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
}

// What is not understood is an error with the line where it stands.
func TestFaults(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "it is empty; a file that names no targets says so: targets: {}"},
		{"# targets:\n", "it is empty"},
		{"target:\n  x: {}\n", "line 1: field target not found; known is targets, and the names of these stand under it, indented"},
		{"targets:\n  x:\n    pfad: /m\n", "line 3: field pfad not found; known are socket, path,"},
		{"targets:\n  x:\n    allow: {hosts: [a]}\n", "line 3: field hosts not found; known are addresses and certificates"},
		{"targets:\n  x: {}\n  x: {}\n", `line 3: "x" is there twice, in line 2 too`},
		{"targets: [x]\n", "line 1: cannot take a list for targets, which has names"},
		{"targets:\n  x:\n\tpath: /m\n", "line 3: found character that cannot start any token"},
		{"targets:\n  a:\n    path: /m\n   timeout: 5s\n  b: {}\n", "line 4: did not find expected key; it is indented unlike the lines around it"},
		{"targets:\n  - a\n  b: {}\n", "line 3: did not find expected '-' indicator"},
		{"targets:\n  a:\n    allow: {addresses: [10.0.0.1}\n", "line 3: did not find expected ',' or ']'; a bracket is not closed"},
		{"targets:\n  a: {path: /m,\n    timeout: 5s}\n  b: {path: /m\n  c: {}\n", "line 4: did not find expected ',' or '}'"},
		{"targets: {a: b: c}\n", "line 1: did not find expected ',' or '}'"},
		{"targets:\n  a:\n    path: \"/m\n    timeout: 5s\n", "line 3: found unexpected end of stream; a quote is not closed"},
		{"targets:\n  a:\n    path /m\n    timeout: 5s\n", "line 4: mapping values are not allowed in this context; a colon is missing in the line before"},
		{"targets:\n  a:\n    path: /\x07\n", "line 3: control characters are not allowed"},
		{"targets:\n  a:\n    path: /\xff\n", "line 3: invalid leading UTF-8 octet"},
		{"targets:\n  a:\n    path: *x\n", "line 3: unknown anchor 'x' referenced"},
		{"targets:\n  a:\n    timeout: !!binary x\n", "line 3: a targets file has no tags (!!binary)"},
		{"targets:\n  a:\n    path:/m\n", "line 3: cannot take the text `path:/m` for a target, which has socket, path"},
		{"targets:\n  a:\n    path:/m\n", "enabled and allow; a colon takes a space after it"},
		{"targets:\n  a:\n    labels: {team: a: b}\n", "or a value with a colon and a space needs quotes"},
		{"targets:\n  x:\n    allow:\n      addresses:\n      - 10.0.0.1\n      - 10.0.0.256\n", `line 6: target "x": allow: "10.0.0.256" is neither`},
		{"targets:\n  x:\n    allow:\n      certificates:\n      - a\n      - ''\n", `line 6: target "x": allow: the name of a certificate is empty`},
		{"targets:\n  x:\n    allow: {addresses: ['10.0.0.1, 10.0.0.2']}\n", `"10.0.0.1, 10.0.0.2" is more than one address; a list has them apart`},
		{"targets:\n  x:\n    timeout: soon\n    path: m\n", `line 3: target "x": timeout "soon"`},
		{"- a\n", "line 1: cannot take a list for a targets file, which begins with targets:"},
		{"targets: {}\n---\ntargets: {}\n", "line 2: there is more after the end of the document"},
		{"targets:\n  ../x: {}\n", `line 2: target "../x": not a valid name`},
		{"targets:\n  a: {}\n  svc.sock: {path: /x}\n", `line 3: target "svc.sock": it is the name of a file; the target is "svc", without .sock`},
		{"targets:\n  x:\n    socket: run/x.sock\n", `line 3: target "x": socket "run/x.sock" is no absolute path`},
		{"targets:\n  x:\n    socket: /run/../x.sock\n", `line 3: target "x": socket "/run/../x.sock" is no absolute path`},
		{"targets:\n  x:\n    path: metrics\n", `line 3: target "x": path "metrics" does not begin with a slash`},
		{"targets:\n  x:\n    path: \"/m HTTP/1.1\\r\\nHost: evil\"\n", `line 3: target "x": path "/m HTTP/1.1\r\nHost: evil" has ' ' in it`},
		{"targets:\n  x:\n    path: /m?a=b\n", `has '?' in it; write it percent-encoded, and without a query`},
		{"targets:\n  x:\n    path: /café\n", `line 3: target "x": path "/café" has 'é' in it`},
		{"targets:\n  x:\n    path: /a%2\n", `line 3: target "x": path "/a%2": invalid URL escape "%2"; a percent sign itself is %25`},
		{"targets:\n  x:\n    path: [a]\n", `line 3: target "x": path: cannot take a list for text`},
		{"targets:\n  x: {labels: {a: b}, timeout: [5s]}\n", `line 2: target "x": cannot take a list for text`},
		{"targets:\n  x:\n    labels:\n      a: b\n      c: [d]\n    timeout: 5s\n", `line 5: target "x": labels: cannot take a list for text`},
		{"targets:\n  x: {path:/x}\n", "field path:/x not found; known are socket, path, protocol, labels, timeout, enabled and allow; a colon takes a space after it"},
		{"targets:\n  x: {enabled: \"yes\"}\n", `line 2: target "x": enabled is true or false, without quotes, and not "yes"`},
		{"targets:\n  x:\n    path: /x\n    enabled: off\n", `line 4: target "x": enabled is true or false, without quotes, and not "off"`},
		{"targets:\n  a: {labels: {job: b}}\n  c: {}\n  b: {path: /b}\n", `line 4: target "b": its labels are those of target "a", and Prometheus could not tell the two apart`},
		{"targets:\n  a:\n    labels: {job: x, part: one}\n  b:\n    path: /m\n    labels: {part: one, job: x}\n", `line 6: target "b": its labels are those of target "a"`},
		{"targets:\n  x:\n    protocol: gopher\n", `line 3: target "x": protocol "gopher" is neither http nor raw`},
		{"targets:\n  x:\n    protocol: raw\n    path: /m\n", `line 4: target "x": a path, but with protocol raw nothing is asked for`},
		{"targets:\n  x:\n    timeout: 5\n", `line 3: target "x": timeout "5" is no duration such as 5s`},
		{"targets:\n  x:\n    timeout: 1h\n", `timeout "1h" is no duration such as 5s or 1m30s, from 100ms to 5m0s`},
		{"targets:\n  x:\n    timeout: -5s\n", `timeout "-5s" is no duration`},
		{"targets:\n  x:\n    timeout: 99ms\n", `timeout "99ms" is no duration such as 5s or 1m30s, from 100ms to 5m0s`},
		{"targets:\n  x:\n    labels:\n      ok: a\n      __address__: evil\n", `line 5: target "x": "__address__" is no name for a label`},
		{"targets:\n  x:\n    labels: {a-b: c}\n", `"a-b" is no name for a label`},
		{"targets:\n  x:\n    enabled: perhaps\n", `line 3: target "x": enabled: cannot take the text ` + "`perhaps` for true or false, which have no quotes"},
		{"targets:\n  x:\n    allow:\n      addresses: [10.0.0.300]\n", `line 4: target "x": allow: "10.0.0.300" is neither an address nor a prefix`},
		{"targets:\n  x:\n    allow: {addresses: [10.0.0.1/8]}\n", `"10.0.0.1/8" has bits set behind its length`},
		{"targets:\n  x:\n    allow: {certificates: [\"\"]}\n", `the name of a certificate is empty`},
		{"targets:\n  x:\n    path: /m\n    allow:\n      # addresses: [10.0.0.1]\n", `line 4: target "x": there is nothing under allow`},
		{"targets:\n  x:\n    path: /m\n    allow: {addresses: []}\n", `line 4: target "x": allow names nobody; leave it out where all may, or say enabled: false`},
		{"targets:\n  metrics: {socket: /m.sock}\n", `line 2: target "metrics": it is the name of a page of Aegis' own; give the target another, and here its socket`},
		{"a: 1\na: 2\n", `line 2: "a" is there twice, in line 1 too`},
		{strings.Repeat("a: 1\n", 200_000), "line 1: 200000 keys, and 100 are the most"},
		{"targets:\n  x:\n    labels: {a: b, c: d, a: e}\n", `line 3: "a" is there twice, in line 3 too`},
		{"targets:\n  null: {allow: {addresses: [10.0.0.1]}}\n", `line 2: a name is missing, or "null" is one and needs quotes`},
		{"targets:\n  x:\n    labels:\n      team:\n", `line 4: target "x": there is nothing under labels.team`},
		{"targets:\n  x:\n    allow:\n      certificates: [a]\n      addresses:\n", `line 5: target "x": there is nothing under allow.addresses`},
		{"targets:\n  x: {enabled: ~}\n", `there is nothing under enabled`},
		{"targets:\n  b: {path: x}\n  a: {path: y}\n", `line 2: target "b": path "x"`},
		{"targets:\n  x: &a {allow: {addresses: [10.0.0.1]}}\n  y: *a\n", "line 3: a targets file has no aliases (*) and merges (<<)"},
		{"targets:\n  x:\n    <<: {allow: }\n", "line 3: a targets file has no aliases"},
		{"targets:\n  x:\n    labels: {a: &n ~}\n    allow: *n\n", "line 4: a targets file has no aliases"},
		{"targets:\n  x:\n    allow: []\n", `line 3: target "x": allow: cannot take a list for allow, which has addresses and certificates`},
		{"targets:\n" + strings.Repeat(" x: {}\n", limits.MaxTargets+1), "line 2: 10001 targets, and 10000 are the most"},
		{strings.Repeat("#", limits.MaxTargetsFileSize+1), "is larger than 4 MiB"},
	} {
		path := write(t, tt.text)
		_, err := Read(path)
		if err == nil {
			t.Errorf("%.60q is taken, want an error with %q", tt.text, tt.want)
		} else if got := err.Error(); !strings.Contains(got, tt.want) || !strings.Contains(got, path) || strings.Contains(got, "\n") {
			t.Errorf("%.60q: %q\nwant the file's name and %q, in one line", tt.text, got, tt.want)
		}
	}
	if _, err := Read("/nonexistent/targets.yml"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// What kind of fault it is may be told to anyone: it has nothing of what is written.
func TestReasons(t *testing.T) {
	for path, want := range map[string]Fault{
		write(t, "targets: ["):                  {Reason: Syntax, Line: 1},
		write(t, "targets:\n  x: {pfad: /m}\n"): {Reason: UnknownKey, Line: 2},
		write(t, "targets:\n  x: {path: m}\n"):  {Reason: WrongValue, Line: 2},
		write(t, "targets: 1\n"):                {Reason: WrongValue, Line: 1},
		"/nonexistent/targets.yml":              {Reason: Unreadable},
	} {
		_, err := Read(path)
		if got := (*Fault)(nil); !errors.As(err, &got) || got.Reason != want.Reason || got.Line != want.Line {
			t.Errorf("%v: %+v, want %+v", err, got, want)
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
				t.Errorf("%+v is no fault", err)
			}
			return
		}
		for name, target := range file.Targets {
			if strings.ContainsAny(target.Path, " \r\n?") || !strings.HasPrefix(target.Path, "/") {
				t.Errorf("target %q asks for %q", name, target.Path)
			}
		}
	})
}

// What is no word is no name, and costs no time that grows with its square.
func TestNamesAreWords(t *testing.T) {
	for _, text := range []string{"targets:\n  ? [a, b]\n  : {}\n", "targets:\n  a: {? {b: c} : d}\n", "? [targets]\n: {}\n"} {
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "a name is a word, and no list or mapping") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A target that is in the folder alone can have the labels of one of the file.
func TestAlike(t *testing.T) {
	there := func(name string) bool { return name == "there" }
	for text, want := range map[string]string{
		"a: {labels: {job: there}}":                             "a there",
		"a: {labels: {job: there, team: x}}":                    " ",
		"a: {labels: {job: there}, enabled: false}":             " ",
		"a: {labels: {job: elsewhere}}":                         " ",
		"a: {labels: {job: there}}, there: {labels: {team: x}}": " ",
		"there: {timeout: 5s}":                                  " ",
	} {
		f, err := parse(fmt.Appendf(nil, "targets: {%s}", text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if a, b := f.DuplicateLabels(there); a+" "+b != want {
			t.Errorf("%s: %q and %q, want %q", text, a, b, want)
		}
	}
}
