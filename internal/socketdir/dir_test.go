package socketdir

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// listen listens on name.sock in dir, and sends greeting on each connection.
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

// find returns the socket that name means in d, which must exist.
func find(ctx context.Context, d Dir, name string) (Socket, error) {
	s, err := d.Socket(name)
	if err == nil {
		_, err = s.Lookup(ctx)
	}
	return s, err
}

// greeting connects to name and returns the greeting that it receives.
func greeting(t *testing.T, d Dir, name string) (string, error) {
	t.Helper()
	s, err := find(t.Context(), d, name)
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

func TestDirComesAndGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	d := New(dir)
	for round := range 2 {
		if _, err := find(t.Context(), d, "svc"); !errors.Is(err, ErrNoDirectory) {
			t.Fatalf("round %d, before the directory is created: %v, want %v", round, err, ErrNoDirectory)
		}
		if _, err := d.List(t.Context()); !errors.Is(err, ErrNoDirectory) {
			t.Fatalf("round %d: List without a directory: %v, want %v", round, err, ErrNoDirectory)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("round ", round)
		listen(t, dir, "svc", want)
		if got, err := greeting(t, d, "svc"); got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := find(t.Context(), d, "svc"); !errors.Is(err, ErrNoDirectory) || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("with a file in place of the directory: %v, want %v", err, ErrNoDirectory)
	}
}
