package socketdir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Permissions do not bind root, so the test runs itself again as another user.
func TestDenied(t *testing.T) {
	if dir := os.Getenv("SOCKETDIR_DENIED"); dir != "" {
		for _, name := range []string{"locked", "open"} {
			_, err := greeting(t, New(dir), name)
			fmt.Printf("%s: %v: %v\n", name, errors.Is(err, ErrDenied), err)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to run as another user")
	}
	dir, asAnother := anotherUser(t, "TestDenied", "SOCKETDIR_DENIED")
	listen(t, dir, "locked", "")
	listen(t, dir, "open", "")
	os.Chmod(filepath.Join(dir, "locked.sock"), 0o640)
	os.Chmod(filepath.Join(dir, "open.sock"), 0o666)

	asOther := func() string {
		out, err := asAnother().CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	out := asOther()
	for _, want := range []string{
		"locked: true: permission denied: " + dir + "/locked.sock has owner root(0), group root(0), mode 0640, and Aegis",
		"Aegis runs as user 4711, groups 4711",
		"write permission on the socket", "search permission on its directory: chgrp 4711 " + dir,
		": chgrp 4711 " + dir + "/locked.sock && chmod g+w " + dir + "/locked.sock; to make that permanent, set Group=",
		"open: false: <nil>",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in:\n%s", want, out)
		}
	}
	os.Chmod(dir, 0o700)
	out = asOther()
	for _, want := range []string{"open: true: permission denied", "the directory " + dir + " has owner root(0), group root(0), mode 0700", "directory of sockets: chgrp 4711 " + dir + " && chmod g+rx " + dir} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in:\n%s", want, out)
		}
	}
}

// The remedy depends on the owner, group and mode of the socket.
func TestRemedy(t *testing.T) {
	me, mine := uint32(os.Geteuid()), currentGroups()
	const other = 54321
	if got, want := sharedGroup(other), mine[len(mine)-1]; got != want {
		t.Errorf("shared group in a directory of another group: %d, want %d", got, want)
	}
	if got := sharedGroup(mine[0]); got != mine[0] {
		t.Errorf("shared group in a directory of group %d: %d", mine[0], got)
	}
	// The directory of these sockets is /.
	shared := groupName(sharedGroup(0))
	for _, tt := range []struct {
		uid, gid, mode uint32
		want           string
	}{
		{other, other, 0o600, "chgrp " + shared + " /x.sock && chmod g+w /x.sock; to make that permanent, set Group=" + shared + " and"},
		{other, other, 0o660, "chgrp " + shared + " /x.sock; to make"},
		{other, mine[0], 0o640, "chmod g+w /x.sock; to make"},
		{other, mine[0], 0o660, "the socket's own permissions suffice: chmod g+x /, unless"},
		{me, other, 0o400, "chmod u+w /x.sock; to make"},
		{me, other, 0o600, "the socket's own permissions suffice"},
	} {
		if got := connectRemedy("/x.sock", &unix.Stat_t{Uid: tt.uid, Gid: tt.gid, Mode: tt.mode}); !strings.HasPrefix(got, tt.want) {
			t.Errorf("owner %d, group %d, mode %04o: %q, want %q", tt.uid, tt.gid, tt.mode, got, tt.want)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for word, want := range map[string]string{
		"/srv/within/run/worker@1.sock": "/srv/within/run/worker@1.sock",
		"/a b":                          "'/a b'",
		"it's $HOME; rm *":              `'it'\''s $HOME; rm *'`,
		"":                              "''",
	} {
		got := ShellQuote(word)
		if got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
		if out, err := exec.Command("sh", "-c", "printf %s "+got).Output(); err != nil || string(out) != word {
			t.Errorf("a shell reads %s as %q (%v)", got, out, err)
		}
	}
}

// Permissions may change between lookup and dial.
func TestDeniedAtDial(t *testing.T) {
	names := []string{"mode", "owner", "dir"}
	if dir := os.Getenv("SOCKETDIR_DENIED_AT_DIAL"); dir != "" {
		var found []Socket
		for _, name := range names {
			s, err := find(t.Context(), New(filepath.Join(dir, name)), "svc")
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, s)
		}
		fmt.Println("found")
		fmt.Scanln()
		for i, s := range found {
			_, _, err := s.Dial(t.Context())
			fmt.Printf("%s: %v: %v\n", names[i], errors.Is(err, ErrDenied), err)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to run as another user")
	}
	dir, asAnother := anotherUser(t, "TestDeniedAtDial", "SOCKETDIR_DENIED_AT_DIAL")
	for _, name := range names {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		listen(t, filepath.Join(dir, name), "svc", "")
		path := filepath.Join(dir, name, "svc.sock")
		if err := errors.Join(os.Chown(path, another, another), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	child := asAnother()
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "found\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := errors.Join(
		os.Chmod(filepath.Join(dir, "mode", "svc.sock"), 0),
		os.Chown(filepath.Join(dir, "owner", "svc.sock"), 0, 0),
		os.Chmod(filepath.Join(dir, "dir"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	in.Close()
	rest, _ := io.ReadAll(lines)
	if err := child.Wait(); err != nil {
		t.Errorf("%v\n%s", err, rest)
	}
	for _, name := range names {
		if !strings.Contains(string(rest), name+": true: permission denied: ") {
			t.Errorf("after a change of the %s:\n%s", name, rest)
		}
	}
}

// another is the number of a user and group that own nothing.
const another = 4711

// anotherUser returns a directory, and a command that runs test as another user with the
// directory in the environment variable env.
func anotherUser(t *testing.T, test, env string) (dir string, command func() *exec.Cmd) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "run")
	os.Mkdir(dir, 0o755)
	// The other user has to reach the test binary and the directories above.
	for d := top; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	exe := filepath.Join(top, "socketdir.test")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, func() *exec.Cmd {
		cmd := exec.Command(exe, "-test.run=^"+test+"$")
		cmd.Dir = "/"
		cmd.Env = []string{env + "=" + dir}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: another, Gid: another}}
		return cmd
	}
}
