package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A client without the right password learns how to log in, and one that has tried too many
// learns when to try again. No browser takes the reason for anything but text.
func TestFieldsOfRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	_, url := startWithPassword(t, dir, bcrypt.MinCost)
	refused := func(password string) *http.Response {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, url+"/svc", nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			r.SetBasicAuth("prometheus", password)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options is %q, want nosniff", resp.Status, got)
		}
		if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
			t.Errorf("%s: Content-Type is %q, want text/plain", resp.Status, got)
		}
		return resp
	}
	for what, password := range map[string]string{"no password": "", "a wrong password": "sesame"} {
		resp := refused(password)
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(got, "Basic realm=") {
			t.Errorf("%s: %s, WWW-Authenticate is %q; want 401 and Basic", what, resp.Status, got)
		}
	}
	for n := range 2 * limits.MaxWrongPasswords {
		resp := refused(fmt.Sprint("wrong ", n))
		if resp.StatusCode == http.StatusUnauthorized {
			continue
		}
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if resp.StatusCode != http.StatusTooManyRequests || err != nil || seconds < 1 || seconds > 60 {
			t.Errorf("too many passwords: %s, Retry-After is %q; want 429 and some seconds", resp.Status, resp.Header.Get("Retry-After"))
		}
		return
	}
	t.Errorf("no 429 after %d wrong passwords", 2*limits.MaxWrongPasswords)
}
