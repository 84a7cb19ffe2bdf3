package socketdir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
		for _, path := range []string{"/root.yml", "/group.yml", "/root/key.pem"} {
			fmt.Printf("reading %s: %s.\n", path, ReadRemedy(dir+path, fs.ErrPermission))
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
	os.WriteFile(filepath.Join(dir, "root.yml"), nil, 0o640)
	os.WriteFile(filepath.Join(dir, "group.yml"), nil, 0o640)
	os.Chown(filepath.Join(dir, "group.yml"), 0, 54321)
	os.Mkdir(filepath.Join(dir, "root"), 0o700)

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
		"write permission on the socket: chgrp 4711 " + dir + "/locked.sock && chmod g+w " + dir + "/locked.sock; to make that permanent, set SupplementaryGroups=",
		"open: false: <nil>",
		"reading /root.yml: ; Aegis reads it as user 4711, groups 4711: chown 4711 " + dir + "/root.yml.",
		"reading /group.yml: ; Aegis reads it as user 4711, groups 4711: usermod -aG 54321 4711, and start Aegis again.",
		"reading /root/key.pem: ; Aegis reads it as user 4711, groups 4711: setfacl -m u:4711:x " + dir + "/root.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in:\n%s", want, out)
		}
	}
	os.Chmod(dir, 0o700)
	out = asOther()
	for _, want := range []string{"open: true: permission denied", "the directory " + dir + " has owner root(0), group root(0), mode 0700", "directory of sockets: chgrp 4711 " + dir + " && chmod g+rxs " + dir} {
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
	shared, myName := groupName(sharedGroup(0)), userName(me)
	share := "chgrp " + shared + " /x && chmod g+w /x; to make that permanent, set SupplementaryGroups=" + shared + " and UMask=0007 in the service's unit, and let its socket be in a directory of group " + shared + " and mode 2770"
	join := fmt.Sprintf("usermod -aG %d %s, and start Aegis again", other, myName)
	for _, tt := range []struct {
		uid, gid, mode             uint32
		connect, search, searchDir string
	}{
		// Nobody but the owner may connect.
		{other, other, 0o600, share, "setfacl -m u:" + myName + ":x /x", "chgrp " + shared + " /x && chmod g+rxs /x"},
		{other, other, 0o640, share, "setfacl -m u:" + myName + ":x /x", "setfacl -m u:" + myName + ":rx /x"},
		// The group may, for example that of a web server: it stays as it is.
		{other, other, 0o660, join, "setfacl -m u:" + myName + ":x /x", "setfacl -m u:" + myName + ":rx /x"},
		{other, other, 0o750, share, join, join},
		{other, other, 0o710, share, join, "setfacl -m u:" + myName + ":rx /x"},
		// Members of group root are nobody.
		{other, other, 0o666, "its mode suffices, so an ACL", "setfacl -m u:" + myName + ":x /x", "setfacl -m u:" + myName + ":rx /x"},
		{other, mine[0], 0o606, "chgrp " + groupName(mine[0]) + " /x && chmod g+w /x; to make", "chmod g+x /x", "chmod g+rx /x"},
		{other, 0, 0o770, share, "setfacl -m u:" + myName + ":x /x", "chgrp " + shared + " /x && chmod g+rxs /x"},
		{other, mine[0], 0o640, "chgrp " + groupName(mine[0]) + " /x && chmod g+w /x; to make", "chmod g+x /x", "chmod g+rx /x"},
		{other, mine[0], 0o660, "its mode suffices, so an ACL", "chmod g+x /x", "chmod g+rx /x"},
		{me, other, 0o400, "chmod u+w /x", "chmod u+x /x", "chmod u+rx /x"},
		{me, other, 0o600, "its mode suffices, so an ACL", "chmod u+x /x", "chmod u+rx /x"},
	} {
		if tt.gid == 0 && isMember(0) {
			continue
		}
		st := &unix.Stat_t{Uid: tt.uid, Gid: tt.gid, Mode: tt.mode}
		for _, got := range [][2]string{
			{connectRemedy("/x", st), tt.connect},
			{grant("/x", st, "x"), tt.search},
			{grant("/x", st, "rx"), tt.searchDir},
		} {
			if !strings.HasPrefix(got[0], got[1]) {
				t.Errorf("owner %d, group %d, mode %04o: %q, want %q", tt.uid, tt.gid, tt.mode, got[0], got[1])
			}
		}
	}
}

// The group's bits in the mode of a file with an ACL are not the group's. The advice lets Aegis in.
func TestDeniedByAnACL(t *testing.T) {
	names := []string{"another", "nobody"}
	if dir := os.Getenv("SOCKETDIR_DENIED_BY_ACL"); dir != "" {
		for _, name := range names {
			_, err := greeting(t, New(dir), name)
			fmt.Printf("%s: %v.\n", name, err)
		}
		fmt.Printf("file: %s.\n", ReadRemedy(dir+"/file", fs.ErrPermission))
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to run as another user")
	}
	if _, err := exec.LookPath("setfacl"); err != nil {
		if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
			t.Fatal("setfacl is missing (install Debian's package acl)")
		}
		t.Skip("setfacl is missing (install Debian's package acl)")
	}
	dir, asAnother := anotherUser(t, "TestDeniedByAnACL", "SOCKETDIR_DENIED_BY_ACL")
	for _, name := range names {
		listen(t, dir, name, "")
	}
	os.WriteFile(dir+"/file", nil, 0o600)
	for _, command := range []string{
		"cd " + dir + " && chown 1:1 *.sock file && chmod 600 another.sock && chmod 666 nobody.sock",
		"cd " + dir + " && setfacl -m u:33:rw another.sock file && setfacl -m u:4711:--- nobody.sock",
	} {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	out, err := asAnother().CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"mode 0660, and Aegis runs as user 4711, groups 4711; connecting needs write permission on the socket: setfacl -m u:4711:rw " + dir + "/another.sock.\n",
		"mode 0666, and Aegis runs as user 4711, groups 4711; connecting needs write permission on the socket: setfacl -m u:4711:rw " + dir + "/nobody.sock.\n",
		"file: ; Aegis reads it as user 4711, groups 4711: setfacl -m u:4711:r " + dir + "/file.\n",
	} {
		_, advice, _ := strings.Cut(strings.TrimSuffix(want, ".\n"), ": setfacl")
		if !strings.Contains(string(out), want) {
			t.Errorf("missing %q in:\n%s", want, out)
		} else if out, err := exec.Command("sh", "-c", "setfacl"+advice).CombinedOutput(); err != nil {
			t.Errorf("setfacl%s: %v\n%s", advice, err, out)
		}
	}
	out, err = asAnother().CombinedOutput()
	if err != nil || !strings.Contains(string(out), "another: <nil>.\nnobody: <nil>.\n") {
		t.Errorf("after that: %v\n%s", err, out)
	}
}

// In a service, the advice is about its unit.
func TestRemedyInAService(t *testing.T) {
	t.Setenv("SYSTEMD_EXEC_PID", fmt.Sprint(os.Getpid()))
	got := connectRemedy("/x", &unix.Stat_t{Uid: 54321, Gid: 33, Mode: 0o660})
	want := "set SupplementaryGroups=" + groupName(33) + " in Aegis' unit (systemctl edit aegis; on NixOS, systemd.services.aegis.serviceConfig) and restart it"
	if got != want {
		t.Errorf("%q, want %q", got, want)
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
