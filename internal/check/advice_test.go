package check

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// A check outside the service says how to check as the service. It does not advise a change that the service
// may not need, or that takes permissions from it.
func TestCommandAs(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte("#!/bin/sh\ncat "+bin+"/$2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for service, settings := range map[string]string{ // as systemd 257 prints them
		"aegis":  "User=aegis\nGroup=within\nSupplementaryGroups=adm www-data\nProtectHome=yes\nBindPaths=\nTemporaryFileSystem=/var:ro\n",
		"absent": "User=\nGroup=\nProtectHome=no\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, service+".service"), []byte(settings), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-sockdir", "/srv/my run", "a"}
	for _, name := range []string{"absent", "unreadable"} {
		if got := CommandAs(name, args); got != "" {
			t.Errorf("command as %s: %q, want none", name, got)
		}
	}
	command := CommandAs("aegis", args)
	start := "systemd-run -qPG --wait -p User=aegis -p Group=within -p 'SupplementaryGroups=adm www-data' -p ProtectHome=yes -p TemporaryFileSystem=/var:ro -p WorkingDirectory=-/"
	if !strings.HasPrefix(command, start) || !strings.HasSuffix(command, "check.test check -sockdir '/srv/my run' a") {
		t.Errorf("%q", command)
	}

	denied := fmt.Errorf("%w: chgrp me x.sock", socketdir.ErrDenied)
	if got := adviseRunAs(denied, ""); got != denied {
		t.Errorf("as the service: %v", got)
	}
	me := socketdir.CurrentUser()
	got := adviseRunAs(denied, command)
	if want := "permission denied to this user; before you change anything, check as the service: " + command; !errors.Is(got, socketdir.ErrDenied) || got.Error() != want {
		t.Errorf("as another user: %v, want %s", got, want)
	}

	dir := t.TempDir()
	serve(t, dir, "svc.sock", respond("x 1\n"))
	_, errOut, err := run(dir, targetsfile.File{}, Options{RunAs: command})
	if err != nil || !strings.HasPrefix(errOut, "aegis: checking as "+me) || !strings.HasSuffix(errOut, command+"\n") {
		t.Errorf("a check as another user: %v, stderr %q", err, errOut)
	}

	t.Setenv("SYSTEMD_EXEC_PID", fmt.Sprint(os.Getpid()))
	if got := CommandAs("aegis", args); got != "" {
		t.Errorf("command in a service: %q, want none", got)
	}
}
