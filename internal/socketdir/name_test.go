package socketdir

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	for _, tt := range []struct {
		name string
		want bool
	}{
		{"printerfacts", true},
		{"worker@1", true},
		{"a", true},
		{"0", true},
		{"A.b_c-d@e:f+g", true},
		{strings.Repeat("n", MaxNameLen), true},

		{"", false},
		{strings.Repeat("n", MaxNameLen+1), false},
		{".", false},
		{"..", false},
		{".hidden", false},
		{"-flag", false},
		{"_x", false},
		{"a/b", false},
		{"../a", false},
		{"a\x00", false},
		{"a b", false},
		{"a\n", false},
		{"a%2fb", false},
		{"a\\b", false},
		{"é", false},
	} {
		if got := ValidName(tt.name); got != tt.want {
			t.Errorf("ValidName(%q) = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Whatever names ValidName accepts, each is a single path component that stays in its
// directory.
func FuzzValidName(f *testing.F) {
	for _, seed := range []string{"printerfacts", "worker@1", "..", "a/../b", "", "a\x00b", "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !ValidName(name) {
			return
		}
		path := filepath.Join("/dir", name+Suffix)
		if filepath.Dir(path) != "/dir" || filepath.Base(path) != name+Suffix {
			t.Errorf("%q is valid but names %s", name, path)
		}
		if len(name+Suffix) > 255 || strings.ContainsAny(name, "/\x00\n\r \"'<>&%") {
			t.Errorf("%q is valid but unsafe", name)
		}
	})
}
