package auth

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// passwordRequest returns a request with credentials from remote, an address with a port.
func passwordRequest(ctx context.Context, remote, user, password string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.RemoteAddr = remote
	r.SetBasicAuth(user, password)
	return r
}

func readPasswords(t *testing.T, costs map[string]int) *File {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	f, err := ReadFile(s.write("web.yml", passwords(t, costs)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// takeSlots takes all slots for expensive work, so that no verification ends. Each call
// of release gives one back.
func takeSlots(t *testing.T) (release func()) {
	t.Helper()
	taken := 0
	for limits.Authentication.TryAcquire() {
		taken++
	}
	release = func() {
		if taken > 0 {
			taken--
			limits.Authentication.Release()
		}
	}
	t.Cleanup(func() {
		for taken > 0 {
			release()
		}
	})
	return release
}

// A password that is not cached waits for a slot, one of each source prefix at a time.
// Requests with the same credentials wait for that, even if its client hangs up.
func TestPasswordsWaitInTurn(t *testing.T) { synctest.Test(t, testPasswordsWaitInTurn) }

func testPasswordsWaitInTurn(t *testing.T) {
	p := newPasswordVerifier(discard)
	f := readPasswords(t, map[string]int{"prometheus": bcrypt.MinCost})
	release := takeSlots(t)
	start := func(ctx context.Context, remote, password string) (result chan error) {
		result = make(chan error, 1)
		go func() { result <- p.verify(passwordRequest(ctx, remote, "prometheus", password), f) }()
		synctest.Wait()
		return result
	}
	want := func(what string, result chan error, want error) {
		t.Helper()
		if got := <-result; got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	hasHungUp, hangUp := context.WithCancel(t.Context())
	right := []chan error{start(hasHungUp, "10.0.0.1:1", password)}
	hangUp()
	for _, remote := range []string{"10.0.0.1:2", "10.0.0.2:1"} {
		right = append(right, start(t.Context(), remote, password))
	}
	want("a waiter that hung up", start(hasHungUp, "10.0.0.1:3", password), errTooManyPasswords)
	want("second verification of an address", start(t.Context(), "10.0.0.1:3", "wrong"), errTooManyPasswords)
	wrong := start(t.Context(), "10.0.0.3:1", "wrong")
	if len(p.pending) != 2 {
		t.Errorf("%d verifications are pending, want 2", len(p.pending))
	}
	release()
	for _, result := range right {
		want("right password", result, nil)
	}
	want("wrong password", wrong, errWrongPassword)
	if len(p.pending)+len(p.pendingSources) > 0 {
		t.Errorf("still pending: %v, of %v", p.pending, p.pendingSources)
	}
}

// A verification that gets no slot in time is refused, and not remembered as wrong.
func TestPasswordWithoutASlot(t *testing.T) { synctest.Test(t, testPasswordWithoutASlot) }

func testPasswordWithoutASlot(t *testing.T) {
	p := newPasswordVerifier(discard)
	f := readPasswords(t, map[string]int{"prometheus": bcrypt.MinCost})
	release := takeSlots(t)
	r := passwordRequest(t.Context(), "10.0.0.1:1", "prometheus", password)
	begin := time.Now()
	if err := p.verify(r, f); err != errTooManyPasswords {
		t.Errorf("no slot: %v", err)
	}
	if took := time.Since(begin); took != limits.PasswordQueueTimeout {
		t.Errorf("waited for a slot for %v, want %v", took, limits.PasswordQueueTimeout)
	}
	release()
	if err := p.verify(r, f); err != nil {
		t.Errorf("with a slot: %v", err)
	}
}

// An unknown user costs as much time as the costliest known one, and never gets in.
func TestPasswordOfAnUnknownUser(t *testing.T) {
	f := readPasswords(t, map[string]int{"cheap": bcrypt.MinCost, "costly": 9, "middling": 6})
	if string(f.costliestHash) != string(f.config.Users["costly"]) {
		t.Errorf("the costliest hash is %s, want %s", f.costliestHash, f.config.Users["costly"])
	}
	p := newPasswordVerifier(discard)
	begin := time.Now()
	if err := p.verify(passwordRequest(t.Context(), "10.0.0.1:1", "nobody", password), f); err != errWrongPassword {
		t.Errorf("nobody, with the password of another: %v", err)
	}
	if took := time.Since(begin); took < 2*time.Millisecond { // No processor hashes as fast.
		t.Errorf("nobody was refused in %v, so nothing was hashed", took)
	}
	f.config.Users["nobody"] = f.config.Users["costly"]
	if err := p.verify(passwordRequest(t.Context(), "10.0.0.1:1", "nobody", password), f); err != nil {
		t.Errorf("a new user with the hash of another: %v", err)
	}
}

// A source that has sent too many wrong passwords is refused for a while; others are not,
// and neither are passwords in the cache.
func TestWrongPasswords(t *testing.T) { synctest.Test(t, testWrongPasswords) }

func testWrongPasswords(t *testing.T) {
	var log bytes.Buffer
	p := newPasswordVerifier(slog.New(slog.NewTextHandler(&log, nil)))
	f := readPasswords(t, map[string]int{"prometheus": bcrypt.MinCost, "other": bcrypt.MinCost})
	want := func(want error, remote, user, password string) {
		t.Helper()
		if err := p.verify(passwordRequest(t.Context(), remote, user, password), f); err != want {
			t.Errorf("%s with the password %s from %s: %v, want %v", user, password, remote, err, want)
		}
	}
	want(nil, "[2001:db8::1]:1", "prometheus", password)
	for i := range limits.MaxWrongPasswords {
		for range 3 { // Repeating a password is no guess.
			want(errWrongPassword, fmt.Sprintf("[2001:db8::%d]:1", i+1), "prometheus", fmt.Sprint(i))
		}
	}
	want(errTooManyPasswords, "[2001:db8::99]:1", "other", password)
	want(errWrongPassword, "[2001:db8::99]:1", "prometheus", "0")
	want(nil, "[2001:db8::99]:1", "prometheus", password)
	want(errWrongPassword, "[2001:db8:0:1::1]:1", "other", "wrong")
	time.Sleep(limits.WrongPasswordInterval / limits.MaxWrongPasswords) // Now it may guess once.
	want(errWrongPassword, "[2001:db8::99]:1", "other", "wrong again")
	want(errTooManyPasswords, "[2001:db8::99]:1", "other", password)
	time.Sleep(limits.WrongPasswordInterval)
	want(nil, "[2001:db8::99]:1", "other", password)
	want(errWrongPassword, "10.0.0.1:1", "other", "another")
	if len(p.guesses) != 1 {
		t.Errorf("%d sources are counted, want 1: the others may guess again", len(p.guesses))
	}
	for range 2 {
		if err := p.verify(httptest.NewRequest("GET", "/", nil), f); err != errWrongPassword {
			t.Errorf("without a password: %v", err)
		}
	}
	const noPassword = `level=WARN msg="request without a user and password" address=192.0.2.1:1234 count=1`
	const line = `level=WARN msg="wrong user or password" user=prometheus address=[2001:db8::1]:1 count=1`
	if !strings.Contains(log.String(), line) || !strings.Contains(log.String(), noPassword) || strings.Count(log.String(), "\n") != 2 {
		t.Errorf("want a line of each kind in the log: %s", log.String())
	}
}

// Credentials that differ in where one part ends are different.
func TestCredentials(t *testing.T) {
	seen := make(map[credentials][3]string)
	for _, parts := range [][3]string{
		{"a", "bc", "h"}, {"ab", "c", "h"}, {"abc", "", "h"}, {"", "abc", "h"},
		{"a", "b", "ch"}, {"a", "bch", ""}, {"a", "bc", "i"}, {"b", "ac", "h"},
		{"a", "hb", "c"}, {"ac", "b", "h"},
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
