package auth

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// Each refusal has its status, its reason as plain text, and says what may help.
func TestRefuse(t *testing.T) {
	f := &File{}
	f.config.RateLimiterConfig.Interval = 1_500_000_000
	for err, want := range map[error]struct {
		status                       int
		challenge, retry, connection string
	}{
		errNoCertificate:    {http.StatusUnauthorized, `ClientCertificate realm="Aegis"`, "", "close"},
		errNoAllowedSAN:     {http.StatusUnauthorized, `ClientCertificate realm="Aegis"`, "", "close"},
		errWrongPassword:    {http.StatusUnauthorized, `Basic realm="Aegis"`, "", "close"},
		errTooManyPasswords: {http.StatusTooManyRequests, "", "10", "close"},
		errRateLimit:        {http.StatusTooManyRequests, "", "2", ""},
	} {
		w := httptest.NewRecorder()
		refuse(w, f, err)
		if w.Code != want.status || w.Body.String() != err.Error()+"\n" {
			t.Errorf("%v: status %d: %s", err, w.Code, w.Body)
		}
		for name, value := range map[string]string{
			"WWW-Authenticate": want.challenge, "Retry-After": want.retry, "Connection": want.connection,
			"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff",
		} {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%v: %s: %q, want %q", err, name, got, value)
			}
		}
	}
}

func TestPasswords(t *testing.T) {
	s := startSite(t, passwords(t, map[string]int{"prometheus": bcrypt.MinCost}), discard)
	client := s.client("")
	resp, _, err := s.get(client, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != `Basic realm="Aegis"` ||
		resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("no password: %s, %v", resp.Status, resp.Header)
	}
	for range 2 { // The second is cached.
		s.wantPasswordStatus("wrong password", client, "prometheus", "sesame", http.StatusUnauthorized)
		s.wantPasswordStatus("unknown user", client, "root", password, http.StatusUnauthorized)
		s.wantPasswordStatus("right password", client, "prometheus", password, http.StatusOK)
	}
}

// Responses and refusals have the headers of the file in use.
func TestHeaders(t *testing.T) {
	const headers = "http_server_config: {headers: {Strict-Transport-Security: VALUE, X-Frame-Options: deny}}\n"
	users := passwords(t, map[string]int{"prometheus": bcrypt.MinCost})
	s := startSite(t, users+headers, discard)
	want := func(hsts string) {
		t.Helper()
		for _, user := range []string{"", "prometheus"} {
			resp, _, err := s.get(s.client(""), user, password)
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.Header.Get("Strict-Transport-Security"); got != hsts {
				t.Errorf("%s: Strict-Transport-Security: %q, want %q", resp.Status, got, hsts)
			}
			if got := resp.Header.Get("X-Frame-Options"); got != "deny" {
				t.Errorf("%s: X-Frame-Options: %q", resp.Status, got)
			}
		}
	}
	want("VALUE")
	s.reload(users + "http_server_config: {headers: {Strict-Transport-Security: other, X-Frame-Options: deny}}\n")
	want("other")
}

// The rate limit counts requests that are let in, and a reload changes it.
func TestRateLimit(t *testing.T) {
	users := passwords(t, map[string]int{"prometheus": bcrypt.MinCost})
	s := startSite(t, users+"rate_limit: {interval: 1h, burst: 2}\n", discard)
	client := s.client("")
	for range 5 {
		s.wantStatus("no password", client, http.StatusUnauthorized)
	}
	for range 2 {
		s.wantPasswordStatus("within the limit", client, "prometheus", password, http.StatusOK)
	}
	resp, _, err := s.get(client, "prometheus", password)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "3600" ||
		resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("beyond the limit: %s, %v", resp.Status, resp.Header)
	}
	s.reload(users)
	s.wantPasswordStatus("no limit any more", client, "prometheus", password, http.StatusOK)
}
