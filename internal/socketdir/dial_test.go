package socketdir

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLookupAndDial(t *testing.T) {
	dir := t.TempDir()
	outside := t.TempDir()
	listen(t, dir, "good", "good")
	listen(t, dir, "worker@1", "worker")
	listen(t, outside, "secret", "secret")
	stale := listen(t, dir, "stale", "")
	stale.SetUnlinkOnClose(false)
	stale.Close()

	join := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Symlink(join("good.sock"), join("symlink.sock")),
		os.Symlink("/etc/passwd", join("symlink-file.sock")),
		os.Symlink(filepath.Join(outside, "secret.sock"), join("symlink-out.sock")),
		os.Symlink(outside, join("outside")),
		os.WriteFile(join("file.sock"), nil, 0o600),
		os.Mkdir(join("directory.sock"), 0o700),
		syscall.Mkfifo(join("fifo.sock"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: join("datagram.sock"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()

	for _, tt := range []struct {
		name string
		want string
		err  error
		text string
	}{
		{name: "good", want: "good"},
		{name: "worker@1", want: "worker"},
		{name: "absent", err: ErrNotFound, text: "there is no " + join("absent.sock")},
		{name: "..", err: ErrNotFound, text: "beginning with a letter or digit"},
		{name: "outside/secret", err: ErrNotFound},
		{name: "../" + filepath.Base(outside) + "/secret", err: ErrNotFound},
		{name: "good\x00", err: ErrNotFound},
		{name: "symlink", err: ErrNotSocket, text: "does not follow symlinks; if its socket is there, set socket: \"" + join("good.sock") + "\" in the targets file"},
		{name: "symlink-out", err: ErrNotSocket, text: "does not follow symlinks; if its socket is there, set socket: \"" + filepath.Join(outside, "secret.sock") + "\" in"},
		{name: "symlink-file", err: ErrNotSocket, text: "set socket: \"/etc/passwd\" in the targets file"},
		{name: "file", err: ErrNotSocket, text: "is a regular file"},
		{name: "directory", err: ErrNotSocket, text: "is a directory"},
		{name: "fifo", err: ErrNotSocket, text: "is a FIFO"},
		{name: "datagram", err: ErrNotSocket, text: "stream socket"},
		{name: "stale", err: ErrRefused, text: "nobody is listening"},
	} {
		got, err := greeting(t, New(dir), tt.name)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q: got %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
		if tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)) {
			t.Errorf("%q: error %v does not contain %q", tt.name, err, tt.text)
		}
	}
}

func TestPathsLongerThanASocketAddress(t *testing.T) {
	short := t.TempDir()
	listen(t, short, "svc", "hello")
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 200))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("n", MaxNameLen)
	if err := os.Rename(filepath.Join(short, "svc.sock"), filepath.Join(long, name+Suffix)); err != nil {
		t.Fatal(err)
	}
	if got, err := greeting(t, New(long), name); got != "hello" {
		t.Errorf("got %q, %v; want hello", got, err)
	}
}

// The name may mean another socket by the time of the dial; the caller has to learn which
// one it reached.
func TestDialReturnsTheIDItReached(t *testing.T) {
	dir := t.TempDir()
	l := listen(t, dir, "svc", "old")
	s, err := New(dir).Socket("svc")
	if err != nil {
		t.Fatal(err)
	}
	old, err := s.Lookup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, id, err := s.Dial(t.Context())
	if err != nil || id != old {
		t.Fatalf("dial: ID %v, %v; want %v", id, err, old)
	}
	c.Close()

	l.Close()
	listen(t, dir, "svc", "new")
	c, id, err = s.Dial(t.Context())
	if err != nil || id == old {
		t.Fatalf("dial of a replaced socket: ID %v, %v; want one other than %v", id, err, old)
	}
	c.Close()
	if again, err := s.Lookup(t.Context()); err != nil || again != id {
		t.Errorf("lookup: ID %v, %v; want %v, which Dial reached", again, err, id)
	}

	path := filepath.Join(dir, "svc.sock")
	for name, swap := range map[string]func() error{
		"a symlink":      func() error { return os.Symlink("/dev/log", path) },
		"a FIFO":         func() error { return unix.Mkfifo(path, 0o666) },
		"a regular file": func() error { return os.WriteFile(path, nil, 0o666) },
		"a directory":    func() error { return os.Mkdir(path, 0o777) },
	} {
		os.Remove(path)
		if err := swap(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Dial(t.Context()); !errors.Is(err, ErrNotSocket) || !strings.Contains(err.Error(), name) {
			t.Errorf("dial of a socket replaced by %s: %v, want %v", name, err, ErrNotSocket)
		}
	}
	os.Remove(path)
	if _, _, err := s.Dial(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("dial of a removed socket: %v, want %v", err, ErrNotFound)
	}
}

func TestFullBacklogIsBusy(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(dir, "slow.sock")}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	s, err := find(t.Context(), New(dir), "slow")
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		c, _, err := s.Dial(t.Context())
		if err != nil {
			if !errors.Is(err, ErrBusy) {
				t.Errorf("a full backlog: %v, want %v", err, ErrBusy)
			}
			return
		}
		defer c.Close()
	}
	t.Error("a backlog of 0 held 8 connections")
}
