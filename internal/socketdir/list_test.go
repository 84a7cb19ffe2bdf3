package socketdir

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestList(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "worker@1"} {
		listen(t, dir, name, "")
	}
	listen(t, dir, ".hidden", "")
	os.WriteFile(filepath.Join(dir, "file.sock"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, ".sock"), nil, 0o600)
	os.Symlink("a.sock", filepath.Join(dir, "symlink.sock"))
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
	want := map[string]bool{"a.sock": true, "b.sock": true, "worker@1.sock": true, "b": false, ".hidden.sock": false, "file.sock": false, "symlink.sock": false}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("List: %v, want %v", got, want)
	}
	if wantOrder := []string{".hidden.sock", "a.sock", "b", "b.sock", "file.sock", "symlink.sock", "worker@1.sock"}; !reflect.DeepEqual(order, wantOrder) {
		t.Errorf("List order: %v, want %v", order, wantOrder)
	}
}
