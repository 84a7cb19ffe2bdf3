package socketdir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// nearFolder returns a folder that is near, with a first socket in it.
func nearFolder(t *testing.T) Dir {
	t.Helper()
	f := New(t.TempDir())
	listen(t, f.path, "first", "")
	if _, ok := atAGlance(t, f, "first"); !ok {
		missing(t, f.path+" is on a file system that may hang, or Linux is older than 6.8")
	}
	return f
}

// atAGlance looks at name in f when that was judged as it is.
func atAGlance(t *testing.T, f Dir, name string) (ID, bool) {
	t.Helper()
	awaitVerdict(t, f)
	return f.glance.look(filepath.Join(f.path, name+Suffix))
}

// awaitVerdict waits until f was judged as it is.
func awaitVerdict(t *testing.T, f Dir) {
	t.Helper()
	await(t, "a verdict", func() bool {
		time.Sleep(limits.GlanceAge) // Until then what was trusted is.
		f.glance.near()
		return f.glance.held.Load() > int64(time.Since(began)-limits.GlanceAge)
	})
}

// await waits until ok, within what no working machine exceeds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(limits.GlanceAge) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for " + what)
		}
	}
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
		id, ok := atAGlance(t, f, "svc")
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
	reaches := func(when string, want bool) {
		t.Helper()
		atAGlance(t, f, "svc")
		r, ok := f.glance.dial(path)
		if ok {
			r.conn.Close()
		}
		if ok != want {
			t.Errorf("%s: reached %v, want %v", when, ok, want)
		}
		if ok && r.id != id {
			t.Errorf("%s: reached %v, want %v", when, r.id, id)
		}
	}
	reaches("a socket", true)
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
	reaches("removed", false)
	if err := os.Symlink("first"+Suffix, path); err != nil {
		t.Fatal(err)
	}
	look("a link", false)
	reaches("a link", false)
	os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look("a plain file", false)
	reaches("a plain file", false)
}

// What is mounted over the folder, or over what leads there, is not trusted before a
// worker judged it.
func TestGlanceSeesMounts(t *testing.T) {
	for name, over := range map[string]func(folder string) string{
		"the folder":       func(folder string) string { return folder },
		"what leads there": filepath.Dir,
	} {
		t.Run(name, func(t *testing.T) {
			f := nearFolder(t)
			path := filepath.Join(f.path, "first"+Suffix)
			distrusts := func(what string) {
				t.Helper()
				if _, ok := f.glance.look(path); ok {
					t.Errorf("%s is looked into", what)
				}
			}
			mount(t, over(f.path), "tmpfs", "")
			if err := os.MkdirAll(f.path, 0o755); err != nil {
				t.Fatal(err)
			}
			listen(t, f.path, "first", "")
			distrusts("another mount")
			if _, ok := atAGlance(t, f, "first"); !ok {
				t.Error("another mount is not looked into when it was judged")
			}
			if err := unix.Unmount(over(f.path), unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			mount(t, over(f.path), "tmpfs", "") // As like the one before as can be.
			distrusts("the next mount")
			if _, err := f.Lookup(t.Context(), "first"); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNoDirectory) {
				t.Errorf("Lookup in an empty mount: %v, want %v or %v", err, ErrNotFound, ErrNoDirectory)
			}
		})
	}
}

// A verdict that does not come, as what leads to the folder hangs, is nothing that a
// lookup or a dial waits for.
func TestNobodyWaitsForAVerdict(t *testing.T) {
	f := New(t.TempDir())
	f.glance.judging.Store(true)
	listen(t, f.path, "svc", "hello")
	if got, err := greeting(t, f, "svc"); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A folder, or one that leads there, that gives way to a link is no more trusted.
func TestGlanceSeesLinks(t *testing.T) {
	for name, of := range map[string]func(folder string) string{
		"the folder":       func(folder string) string { return folder },
		"what leads there": filepath.Dir,
	} {
		t.Run(name, func(t *testing.T) {
			f := nearFolder(t)
			path := of(f.path)
			if err := errors.Join(os.Rename(path, path+".old"), os.Symlink(path+".old", path)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(path); os.Rename(path+".old", path) })
			awaitVerdict(t, f)
			if f.glance.near() != 0 {
				t.Error("a link is trusted")
			}
			if _, err := f.Lookup(t.Context(), "first"); err != nil {
				t.Error(err)
			}
		})
	}
}

// mount mounts a file system of that kind on path, until the test ends.
func mount(t *testing.T, path, kind, options string) {
	t.Helper()
	if err := unix.Mount("aegis-test", path, kind, 0, options); err != nil {
		missing(t, "cannot mount "+kind+" here: "+err.Error())
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
}

func TestNotNear(t *testing.T) {
	notNear := func(t *testing.T, folder string) {
		t.Helper()
		if steps := way(folder); len(steps) > 0 {
			t.Errorf("%s is taken to be near: %v", folder, steps)
		}
	}
	notNear(t, "/proc/self")
	notNear(t, filepath.Join(t.TempDir(), "absent"))
	t.Run("a link", func(t *testing.T) {
		f := nearFolder(t)
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(f.path, link); err != nil {
			t.Fatal(err)
		}
		notNear(t, link)
	})
	t.Run("what leads there", func(t *testing.T) {
		f := nearFolder(t)
		for _, dir := range []string{"lower", "upper", "work", "far"} {
			if err := os.Mkdir(filepath.Join(f.path, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		far := filepath.Join(f.path, "far")
		mount(t, far, "overlay", "lowerdir="+f.path+"/lower,upperdir="+f.path+"/upper,workdir="+f.path+"/work")
		dir := filepath.Join(far, "run")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mount(t, dir, "tmpfs", "")
		notNear(t, dir)
	})
}
