package sockdir

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// nearFolder returns a folder whose first lookup found that it is near.
func nearFolder(t *testing.T) Folder {
	t.Helper()
	f := New(t.TempDir())
	listen(t, f.path, "first", "")
	if _, err := f.Lookup(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if f.glance.near.Load() == 0 {
		missing(t, f.path+" is on a file system that may hang, or Linux is older than 6.8")
	}
	return f
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// A glance finds the socket that a patient look finds, and leaves to that whatever
// is not plainly a socket.
func TestGlance(t *testing.T) {
	f := nearFolder(t)
	path := filepath.Join(f.path, "svc"+Suffix)
	look := func(when string, want bool) (id ID) {
		t.Helper()
		id, ok := f.glance.look(path)
		if ok != want {
			t.Errorf("%s: found %v, want %v", when, ok, want)
		}
		return id
	}
	look("before there is one", false)
	l := listen(t, f.path, "svc", "")
	id := look("a socket", true)
	if patient, err := f.lookup(path); err != nil || patient.ID != id {
		t.Errorf("glance found %v, a patient look %v, %v", id, patient.ID, err)
	}
	s, err := f.Lookup(t.Context(), "svc")
	if err != nil || s.ID != id {
		t.Fatalf("Lookup: %v, %v, want %v", s.ID, err, id)
	}
	c, dialled, err := s.Dial(t.Context())
	if err != nil || dialled != id {
		t.Fatalf("Dial reached %v, %v, want %v", dialled, err, id)
	}
	c.Close()

	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if changed := look("another mode", true); changed == id {
		t.Error("another mode, same identity")
	}
	l.Close()
	look("removed", false)
	if err := os.Symlink("first"+Suffix, path); err != nil {
		t.Fatal(err)
	}
	look("a link", false)
	os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look("a plain file", false)
}

// What is mounted over the folder is not looked into before a worker judged it.
func TestGlanceSeesMounts(t *testing.T) {
	f := nearFolder(t)
	path := filepath.Join(f.path, "first"+Suffix)
	mount := func() {
		t.Helper()
		if err := unix.Mount("aegis-test", f.path, "tmpfs", 0, ""); err != nil {
			missing(t, "cannot mount a tmpfs here: "+err.Error())
		}
		t.Cleanup(func() { unix.Unmount(f.path, unix.MNT_DETACH) })
	}
	trusts := func(when string, want bool) {
		t.Helper()
		if _, ok := f.glance.look(path); ok != want {
			t.Errorf("%s: found %v, want %v", when, ok, want)
		}
	}
	trusts("at first", true)
	mount()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	trusts("another mount", false)
	if _, err := f.Lookup(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	trusts("judged", true)
	if err := unix.Unmount(f.path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	mount() // As like the one before as can be.
	trusts("the next mount", false)
	if _, err := f.Lookup(t.Context(), "first"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Lookup in an empty mount: %v, want %v", err, ErrNotFound)
	}
}

func TestNotNear(t *testing.T) {
	for _, path := range []string{"/proc/self", filepath.Join(t.TempDir(), "absent")} {
		g := glancer{folder: path}
		if mount := g.mount(); mount != 0 {
			t.Errorf("%s is taken to be near (mount %d)", path, mount)
		}
	}
	if leadsNear("/proc/self/fd") {
		t.Error("what is in /proc/self is taken to be near")
	}
}
