package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNotSetgid(t *testing.T) {
	for mode, want := range map[os.FileMode]int{
		0o770:                 1,
		0o770 | os.ModeSetgid: 0,
		0o750:                 0, // only one user makes sockets
		0o700:                 0,
	} {
		dir := filepath.Join(t.TempDir(), "run")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if got := notSetgid(dir); len(got) != want {
			t.Errorf("mode %v: %v, want %d warnings", mode, got, want)
		}
	}
	if got := notSetgid(filepath.Join(t.TempDir(), "missing")); got != nil {
		t.Errorf("a missing directory: %v", got)
	}
}
