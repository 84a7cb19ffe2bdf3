package target

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// summary returns the name of each entry and the result of scraping it.
func summary(entries []Entry) string {
	var all []string
	for _, e := range entries {
		all = append(all, fmt.Sprintf("%s:%s", e.Name, ResultOf(e.Err)))
	}
	return strings.Join(all, " ")
}

func TestList(t *testing.T) {
	s := newTestSet(t)
	elsewhere := filepath.Join(t.TempDir(), "x.sock")
	for _, name := range []string{"b", "a@1", "metrics", "moved", "disabled"} {
		s.service(name, metrics1)
	}
	if err := os.Symlink("b.sock", s.socket("link")); err != nil {
		t.Fatal(err)
	}
	s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{
		"b":        {Labels: map[string]string{"team": "money"}},
		"moved":    {Socket: elsewhere},
		"disabled": {Disabled: true},
		"nowhere":  {Socket: "/run/x.sock", Disabled: true},
		"absent":   {},
	}})
	entries, err := s.List(t.Context())
	want := "a@1:ok absent:ok b:ok disabled:not_found link:not_socket metrics:not_socket moved:not_socket moved:ok"
	if got := summary(entries); got != want || err != nil {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	for _, e := range entries {
		switch {
		case e.Name == "b" && e.Settings.Labels["team"] != "money":
			t.Error("b lacks its settings")
		case e.OnlyInFile != (e.File == elsewhere || e.File == "absent.sock"):
			t.Errorf("%s is only in the file: %v", e.File, e.OnlyInFile)
		case e.Name == "disabled" && !errors.Is(e.Err, ErrDisabled):
			t.Error(e.Err)
		case e.Name == "moved" && e.Err != nil && !strings.Contains(e.Err.Error(), elsewhere):
			t.Errorf("%v does not name the other socket", e.Err)
		case e.Name == "moved" && e.Err == nil && e.File != elsewhere:
			t.Errorf("the socket of moved is %s", e.File)
		}
	}
	remove(t, s.path)
	if _, err := s.List(t.Context()); !errors.Is(err, socketdir.ErrNoDirectory) {
		t.Errorf("without the directory: %v", err)
	}
}

func TestVisibleTo(t *testing.T) {
	s := newTestSet(t)
	for _, name := range []string{"all", "mine", "theirs", "nobodys"} {
		s.service(name, metrics1)
	}
	addresses := func(prefix string) *targetsfile.Allow {
		return &targetsfile.Allow{Addresses: []netip.Prefix{netip.MustParsePrefix(prefix)}}
	}
	s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{
		"mine":    {Allow: addresses("192.0.2.0/24")},
		"theirs":  {Allow: addresses("198.51.100.0/24")},
		"nobodys": {Allow: &targetsfile.Allow{}, Disabled: true}, // hidden among what is not served, too
	}})
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.1:5"
	entries, err := s.VisibleTo(r)
	if got, want := summary(entries), "all:ok mine:ok"; got != want || err != nil {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

func TestGet(t *testing.T) {
	s := newTestSet(t)
	s.service("svc", metrics1)
	s.service("disabled", metrics1)
	s.service("metrics", metrics1)
	s.SetFile(targetsfile.File{Targets: map[string]targetsfile.Target{
		"disabled": {Disabled: true},
		"absent":   {Socket: filepath.Join(t.TempDir(), "absent.sock"), Path: "/metrics"},
	}})
	for name, want := range map[string]Result{
		"svc": OK, "disabled": NotFound, "metrics": NotSocket, "absent": NotFound, "nothing": NotFound, "../svc": NotFound, "": NotFound,
	} {
		target := s.Get(name)
		socket, err := target.Locate(t.Context(), new(scrape.Request))
		if err == nil {
			_, err = socket.Lookup(t.Context())
		}
		if ResultOf(err) != want {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}

func TestNamesAreSorted(t *testing.T) {
	s := newTestSet(t)
	file := targetsfile.File{Targets: make(map[string]targetsfile.Target)}
	for _, name := range []string{"c", "a", "d", "b"} {
		s.service(name, metrics1)
		file.Targets[name+"x"] = targetsfile.Target{Socket: "/run/x.sock"}
	}
	s.SetFile(file)
	entries, err := s.List(t.Context())
	if err != nil || len(entries) != 8 || !slices.IsSortedFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%s, %v", summary(entries), err)
	}
}
