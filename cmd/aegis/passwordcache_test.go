package main

import (
	"fmt"
	"net/http"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// A user and password that were right, or wrong, say nothing of another user and password that
// read the same one after the other, even if both users have the same hash.
func TestPasswordCacheTellsUserFromPassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	hash := func(password string) []byte {
		h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	config := writeFile(t, dir, "web.yml", fmt.Sprintf("basic_auth_users: {a: %[1]q, ab: %[1]q, d: %[2]q, de: %[2]q}\n", hash("bc"), hash("ef")))
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-web.config.file", config)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	for _, tt := range []struct {
		user, password string
		status         int
	}{
		{"a", "bc", http.StatusOK},
		{"ab", "c", http.StatusUnauthorized},
		{"de", "f", http.StatusUnauthorized},
		{"d", "ef", http.StatusOK},
	} {
		r, err := http.NewRequest(http.MethodGet, "http://"+addr+"/svc", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(tt.user, tt.password)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("user %s with password %s: %s, want %d", tt.user, tt.password, resp.Status, tt.status)
		}
	}
}
