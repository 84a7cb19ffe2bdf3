package socketdir

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestOwnership(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give sockets to others")
	}
	dir := t.TempDir()
	entries := []Entry{{File: "mine.sock"}, {File: "gone.sock"}, {File: "theirs.sock"}, {File: "symlink.sock"}}
	listen(t, dir, "mine", "")
	listen(t, dir, "theirs", "")
	for file, mode := range map[string]os.FileMode{"mine.sock": 0o755 | os.ModeSetgid, "theirs.sock": 0o660} {
		if err := os.Chmod(filepath.Join(dir, file), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "theirs.sock"), 4711, 4712); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("theirs.sock", filepath.Join(dir, "symlink.sock")); err != nil {
		t.Fatal(err)
	}
	got, err := New(dir).Ownership(t.Context(), entries)
	want := []Ownership{{"root", "root", 0o2755}, {}, {"4711", "4712", 0o660}, {"root", "root", 0o777}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// An owner that the user namespace hides is not reported as nobody.
func TestHiddenOwner(t *testing.T) {
	userName, groupName := cacheNames(userName, true), cacheNames(groupName, true)
	if u, g := userName(overflowID), groupName(overflowID); u != Hidden || g != Hidden {
		t.Errorf("%s and %s, want both %s", u, g, Hidden)
	}
	if u, g := userName(0), groupName(0); u != "root" || g != "root" {
		t.Errorf("%s and %s, want both root", u, g)
	}
}
