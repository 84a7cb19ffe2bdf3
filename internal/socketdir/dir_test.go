package socketdir

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// listen serves name.sock in dir; each connection is greeted with greeting.
func listen(t *testing.T, dir, name, greeting string) *net.UnixListener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, name+Suffix))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte(greeting))
			c.Close()
		}
	}()
	return l.(*net.UnixListener)
}

// greeting connects to name and returns what its service says.
func greeting(t *testing.T, f Dir, name string) (string, error) {
	t.Helper()
	s, err := f.Lookup(t.Context(), name)
	if err != nil {
		return "", err
	}
	c, _, err := s.Dial(t.Context())
	if err != nil {
		return "", err
	}
	defer c.Close()
	buf := make([]byte, 64)
	n, _ := c.Read(buf)
	return string(buf[:n]), nil
}

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
		os.Symlink(join("good.sock"), join("link.sock")),
		os.Symlink(filepath.Join(outside, "secret.sock"), join("out.sock")),
		os.Symlink(outside, join("outside")),
		os.WriteFile(join("file.sock"), nil, 0o600),
		os.Mkdir(join("folder.sock"), 0o700),
		syscall.Mkfifo(join("pipe.sock"), 0o600),
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
		says string
	}{
		{name: "good", want: "good"},
		{name: "worker@1", want: "worker"},
		{name: "absent", err: ErrNotFound, says: "there is no " + join("absent.sock")},
		{name: "..", err: ErrNotFound, says: "beginning with a letter or digit"},
		{name: "outside/secret", err: ErrNotFound},
		{name: "../" + filepath.Base(outside) + "/secret", err: ErrNotFound},
		{name: "good\x00", err: ErrNotFound},
		{name: "link", err: ErrNotSocket, says: "links are not followed"},
		{name: "out", err: ErrNotSocket, says: "links are not followed"},
		{name: "file", err: ErrNotSocket, says: "plain file"},
		{name: "folder", err: ErrNotSocket, says: "is a folder"},
		{name: "pipe", err: ErrNotSocket, says: "is a pipe"},
		{name: "datagram", err: ErrNotSocket, says: "stream socket"},
		{name: "stale", err: ErrRefused, says: "nobody is listening"},
	} {
		got, err := greeting(t, New(dir), tt.name)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q: got %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
		if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%q: error %v does not say %q", tt.name, err, tt.says)
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
	name := strings.Repeat("n", NameMax)
	if err := os.Rename(filepath.Join(short, "svc.sock"), filepath.Join(long, name+Suffix)); err != nil {
		t.Fatal(err)
	}
	if got, err := greeting(t, New(long), name); got != "hello" {
		t.Errorf("got %q, %v; want hello", got, err)
	}
}

func TestFolderComesAndGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	f := New(dir)
	for round := range 2 {
		if _, err := f.Lookup(t.Context(), "svc"); !errors.Is(err, ErrNoDirectory) {
			t.Fatalf("round %d, before the folder is made: %v, want %v", round, err, ErrNoDirectory)
		}
		if _, err := f.List(t.Context()); !errors.Is(err, ErrNoDirectory) {
			t.Fatalf("round %d: List without a folder: %v, want %v", round, err, ErrNoDirectory)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("round ", round)
		listen(t, dir, "svc", want)
		if got, err := greeting(t, f, "svc"); got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lookup(t.Context(), "svc"); !errors.Is(err, ErrNoDirectory) || !strings.Contains(err.Error(), "is no folder") {
		t.Errorf("with a file in the folder's place: %v, want %v", err, ErrNoDirectory)
	}
}

// Between lookup and dial the name may come to mean another socket; the caller
// must learn which one it reached.
func TestDialReportsWhatItReached(t *testing.T) {
	dir := t.TempDir()
	l := listen(t, dir, "svc", "old")
	s, err := New(dir).Lookup(t.Context(), "svc")
	if err != nil {
		t.Fatal(err)
	}
	c, id, err := s.Dial(t.Context())
	if err != nil || id != s.ID {
		t.Fatalf("dial: identity %v, %v; want %v", id, err, s.ID)
	}
	c.Close()

	l.Close()
	listen(t, dir, "svc", "new")
	c, id, err = s.Dial(t.Context())
	if err != nil || id == s.ID {
		t.Fatalf("dial of a replaced socket: identity %v, %v; want another than %v", id, err, s.ID)
	}
	c.Close()
	again, err := New(dir).Lookup(t.Context(), "svc")
	if err != nil || again.ID != id {
		t.Errorf("lookup: identity %v, %v; want %v, which was dialled", again.ID, err, id)
	}

	path := filepath.Join(dir, "svc.sock")
	for name, swap := range map[string]func() error{
		"a link":       func() error { return os.Symlink("/dev/log", path) },
		"a pipe":       func() error { return unix.Mkfifo(path, 0o666) },
		"a plain file": func() error { return os.WriteFile(path, nil, 0o666) },
		"a folder":     func() error { return os.Mkdir(path, 0o777) },
	} {
		os.Remove(path)
		if err := swap(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Dial(t.Context()); !errors.Is(err, ErrNotSocket) || !strings.Contains(err.Error(), name) {
			t.Errorf("dial of a socket swapped for %s: %v, want %v", name, err, ErrNotSocket)
		}
	}
	os.Remove(path)
	if _, _, err := s.Dial(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("dial of a socket that is gone: %v, want %v", err, ErrNotFound)
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
	s, err := New(dir).Lookup(t.Context(), "slow")
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
	t.Error("a backlog of none took 8 connections")
}

// A file system that hangs holds the calls that look at it, but nobody who waits
// for them, and not more than so many.
func TestFileSystemThatHangs(t *testing.T) {
	f := New(t.TempDir())
	hang := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var started atomic.Int32
	errs, late := make(chan error), make(chan int)
	for range limits.MaxBlockingFSCalls + 10 {
		go func() {
			_, err := patiently(ctx, f, func() (int, error) { started.Add(1); <-hang; return 1, nil }, func(n int) { late <- n })
			errs <- err
		}()
	}
	for range limits.MaxBlockingFSCalls + 10 {
		if err := <-errs; !errors.Is(err, ErrTimeout) {
			t.Errorf("error %v, want %v", err, ErrTimeout)
		}
	}
	if n := started.Load(); n != limits.MaxBlockingFSCalls {
		t.Errorf("%d calls hang, want %d", n, limits.MaxBlockingFSCalls)
	}
	close(hang)
	for range limits.MaxBlockingFSCalls {
		select {
		case <-late:
		case <-time.After(10 * time.Second):
			t.Fatal("what a call that hung returned in the end was not discarded")
		}
	}
	if _, err := f.Lookup(t.Context(), "svc"); !errors.Is(err, ErrNotFound) {
		t.Errorf("when it answers again: %v, want %v", err, ErrNotFound)
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "worker@1"} {
		listen(t, dir, name, "")
	}
	listen(t, dir, ".hidden", "")
	os.WriteFile(filepath.Join(dir, "file.sock"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, ".sock"), nil, 0o600)
	os.Symlink("a.sock", filepath.Join(dir, "link.sock"))
	os.Rename(filepath.Join(dir, "b.sock"), filepath.Join(dir, "b"))
	listen(t, dir, "b", "")

	entries, err := New(dir).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	var order []string
	for _, e := range entries {
		got[e.File] = e.Err == nil
		order = append(order, e.File)
	}
	want := map[string]bool{"a.sock": true, "b.sock": true, "worker@1.sock": true, "b": false, ".hidden.sock": false, "file.sock": false, "link.sock": false}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("List: %v, want %v", got, want)
	}
	if wantOrder := []string{".hidden.sock", "a.sock", "b", "b.sock", "file.sock", "link.sock", "worker@1.sock"}; !reflect.DeepEqual(order, wantOrder) {
		t.Errorf("List order: %v, want %v", order, wantOrder)
	}
}
