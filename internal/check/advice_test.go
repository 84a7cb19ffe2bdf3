package check

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// The error for a name that is not a target says what may have been meant.
func TestSuggestions(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, "svc.sock", respond("x 1\n"))
	abandon(t, dir, "nameless")
	abandon(t, dir, "loud.SOCK")
	for name, want := range map[string]string{
		"absent":      "there is no " + dir + "/absent.sock",
		"svc.sock":    "; the name is svc, without .sock",
		"svc/metrics": "; use /svc, Aegis adds /metrics itself",
		"../run/svc":  "; a name has no slash",
		"metrics":     "/metrics is Aegis' own page",
		"nameless":    "; nameless exists, but is not served: ",
		"loud":        "; loud.SOCK exists, but is not served: ",
	} {
		got := reportsOf(t, dir, targetsfile.File{}, Options{Names: []string{name}})[0]
		if !strings.Contains(got.Error, want) {
			t.Errorf("%s: %q, want %q", name, got.Error, want)
		}
	}
	out, _, _ := run(dir, targetsfile.File{}, Options{Names: []string{"../run/svc"}})
	wantLines(t, out, `^\.\./run/svc +not_found `, `^\.\./run/svc: no such socket: `)
}

// If the service runs as another user, a denied check says how to check as that user. It
// does not advise a change that could take permissions from the service.
func TestOtherUser(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-sockdir", "/srv/my run", "a"}
	for _, name := range []string{me.Username, "nobody-there"} {
		if got := CommandAs(name, args); got != "" {
			t.Errorf("command as %s: %q, want none", name, got)
		}
	}
	other, err := user.LookupId("2") // On Debian, bin.
	if err != nil || me.Uid == "2" {
		if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
			t.Fatalf("no other user: %v", err)
		}
		t.Skipf("no other user: %v", err)
	}
	command := CommandAs(other.Username, args)
	if want := "runuser -u " + other.Username + " -- aegis check -sockdir '/srv/my run' a"; command != want {
		t.Errorf("%q, want %q", command, want)
	}

	denied := fmt.Errorf("looking: %w", &socketdir.DeniedError{Found: "x.sock is another's", Needs: "that needs a lot; ", Remedy: "chgrp me x.sock"})
	if got := adviseRunAs(denied, ""); got != denied {
		t.Errorf("as the service: %v", got)
	}
	got := adviseRunAs(denied, command)
	if !errors.Is(got, socketdir.ErrDenied) || strings.Contains(got.Error(), "chgrp") || !strings.Contains(got.Error(), "x.sock is another's and this check runs as user "+me.Username) || !strings.HasSuffix(got.Error(), command) {
		t.Errorf("as another user: %v", got)
	}

	dir := t.TempDir()
	serve(t, dir, "svc.sock", respond("x 1\n"))
	_, errOut, err := run(dir, targetsfile.File{}, Options{RunAs: command})
	if err != nil || !strings.HasPrefix(errOut, "aegis: checking as user "+me.Username) || !strings.HasSuffix(errOut, command+"\n") {
		t.Errorf("a check as another user: %v, stderr %q", err, errOut)
	}
}
