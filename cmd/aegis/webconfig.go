package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/sockdir"
)

// readWebConfig reads the file for TLS and authentication and checks it. A file that
// turns nothing on is an error: somebody meant something by it.
func readWebConfig(path string) (c exporterweb.Config, err error) {
	if path == "" {
		return c, nil
	}
	// Opening a pipe waits for who writes to it.
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return c, fmt.Errorf("reading -web.config.file %s: it is a pipe, and is read again and again; give a file", path)
	}
	if err := exporterweb.Validate(path); err != nil {
		// The library's errors may have lines.
		says := strings.Join(strings.Fields(err.Error()), " ")
		switch {
		case strings.Contains(says, "bcrypt"):
			says += "; basic_auth_users has passwords as htpasswd -nBC 10 NAME prints them"
		case errors.Is(err, os.ErrPermission):
			says += "; it is read as " + sockdir.Whoami()
		}
		return c, fmt.Errorf("reading -web.config.file %s: %s", path, says)
	}
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, &c)
	}
	if err != nil {
		return c, fmt.Errorf("reading -web.config.file %s: %w", path, err)
	}
	if len(c.Users) == 0 && !c.TLSConfig.IsEnabled() && len(c.HTTPConfig.Header) == 0 && c.RateLimiterConfig.Interval == 0 {
		return c, fmt.Errorf("reading -web.config.file %s: it turns nothing on, neither tls_server_config nor basic_auth_users; without the flag Aegis serves plain HTTP", path)
	}
	return c, nil
}

// verifiesCertificates reports whether c has scrapers' certificates verified.
func verifiesCertificates(c exporterweb.Config) bool {
	return c.TLSConfig.ClientAuth == "RequireAndVerifyClientCert" || c.TLSConfig.ClientAuth == "VerifyClientCertIfGiven"
}

// settled is how long ago a file has to have changed for nobody to write to it still.
const settled = 2 * time.Second

// keepPasswords returns next for the case that the file at path had passwords when
// Aegis started. The library that asks for them reads it for each request, and where
// it finds none, as in a file that is just written or was emptied, it asks nobody.
func keepPasswords(next http.Handler, path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		users, changed, err := passwords(path)
		switch {
		case err != nil || len(users) == 0:
			http.Error(w, "the file of -web.config.file has no passwords any more; nobody is served until it has", http.StatusServiceUnavailable)
		case time.Since(changed) < settled && !knows(users, r):
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// passwords returns the hashed passwords in the file at path, and when it was changed
// last, which nobody can set.
func passwords(path string) (users map[string]string, changed time.Time, err error) {
	var c struct {
		Users map[string]string `yaml:"basic_auth_users"`
	}
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, &c)
	}
	var st syscall.Stat_t
	if err == nil {
		err = syscall.Stat(path, &st)
	}
	return c.Users, time.Unix(st.Ctim.Unix()), err
}

// knows reports whether r has the password of one of users.
func knows(users map[string]string, r *http.Request) bool {
	name, password, ok := r.BasicAuth()
	return ok && bcrypt.CompareHashAndPassword([]byte(users[name]), []byte(password)) == nil
}
