package auth

import (
	"fmt"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Credentials that differ in where one part ends are different.
func TestCredentials(t *testing.T) {
	seen := make(map[credentials][3]string)
	for _, parts := range [][3]string{
		{"a", "bc", "h"}, {"ab", "c", "h"}, {"abc", "", "h"}, {"", "abc", "h"},
		{"a", "b", "ch"}, {"a", "bch", ""}, {"a", "bc", "i"}, {"b", "ac", "h"},
	} {
		key := newCredentials(parts[0], parts[1], parts[2])
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q are the same", parts, other)
		}
		seen[key] = parts
		if newCredentials(parts[0], parts[1], parts[2]) != key {
			t.Errorf("%q is not the same twice", parts)
		}
	}
}

// The cache has a limit, and wrong passwords do not evict right ones.
func TestPasswordCache(t *testing.T) {
	p := newPasswordVerifier(discard)
	f := readPasswords(t, map[string]int{"prometheus": bcrypt.MinCost})
	right := passwordRequest(t.Context(), "10.0.0.1:1", "prometheus", password)
	if err := p.verify(right, f); err != nil {
		t.Fatal(err)
	}
	for i := range limits.MaxCachedPasswords + 1 {
		remote := fmt.Sprintf("10.0.1.%d:1", i)
		if err := p.verify(passwordRequest(t.Context(), remote, "prometheus", fmt.Sprint(i)), f); err != errWrongPassword {
			t.Errorf("wrong password %d: %v", i, err)
		}
	}
	if len(p.right) != 1 || len(p.wrong) != 1 {
		t.Errorf("%d right and %d wrong passwords are cached, want 1 and 1", len(p.right), len(p.wrong))
	}
	takeSlots(t)
	if err := p.verify(right, f); err != nil {
		t.Errorf("the right password is not cached: %v", err)
	}
}
