package main

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/config"
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
	text, err := os.ReadFile(path)
	if err == nil && yaml.Unmarshal(text, &c) == nil { // What fails here fails better below.
		err = checkClientCAs(path, c.TLSConfig)
	}
	if err == nil {
		err = exporterweb.Validate(path)
	}
	if err != nil {
		// The library's errors may have lines.
		says := strings.Join(strings.Fields(err.Error()), " ")
		return c, fmt.Errorf("reading -web.config.file %s: %s%s", path, says, webConfigAdvice(says))
	}
	if len(c.Users) == 0 && !c.TLSConfig.IsEnabled() && len(c.HTTPConfig.Header) == 0 && c.RateLimiterConfig.Interval == 0 {
		return c, fmt.Errorf("reading -web.config.file %s: it turns nothing on, neither tls_server_config nor basic_auth_users; without the flag Aegis serves plain HTTP", path)
	}
	return c, nil
}

// webConfigAdvice is what to do about what the library says, where that can be known.
func webConfigAdvice(says string) string {
	for _, known := range []struct{ part, advice string }{
		{"bcrypt", "; basic_auth_users has passwords as htpasswd -nBC 10 NAME prints them"},
		{"permission denied", "; it is read as " + sockdir.Whoami()},
		{"field targets not found", "; this is a targets file, which -config.file takes"},
		{"invalid ClientAuth", "; client_auth_type is RequireAndVerifyClientCert, VerifyClientCertIfGiven, RequireAnyClientCert, RequestClientCert or NoClientCert"},
		{"any PEM data in key input", "; the key itself goes under key, its file's name under key_file"},
		{"any PEM data in certificate input", "; the certificate itself goes under cert, its file's name under cert_file"},
		{"cannot start any token", "; a tab indents nothing, and what begins with @, % or ` needs quotes"},
	} {
		if strings.Contains(says, known.part) {
			return known.advice
		}
	}
	return ""
}

// checkClientCAs returns an error if certificates of scrapers are verified, and not by
// what the file at path names: Go would take them of every authority that the system
// trusts for web sites, or of none.
func checkClientCAs(path string, c exporterweb.TLSConfig) error {
	if !verifies(c.ClientAuth) {
		return nil
	}
	certificates, from := []byte(c.ClientCAsText), "client_ca"
	if c.ClientCAs != "" {
		from = "client_ca_file " + c.ClientCAs
		c.SetDirectory(filepath.Dir(path))
		var err error
		if certificates, err = os.ReadFile(c.ClientCAs); err != nil {
			return fmt.Errorf("reading client_ca_file: %w", err)
		}
	}
	switch {
	case len(certificates) == 0 && c.ClientCAs == "":
		return fmt.Errorf("client_auth_type %s takes a client_ca_file: the authority whose certificates may scrape", c.ClientAuth)
	case !x509.NewCertPool().AppendCertsFromPEM(certificates):
		return fmt.Errorf("there is no certificate in %s", from)
	}
	return nil
}

// verifies reports whether clientAuth, a client_auth_type, has certificates verified.
func verifies(clientAuth string) bool {
	return clientAuth == "RequireAndVerifyClientCert" || clientAuth == "VerifyClientCertIfGiven"
}

// certificatesUnverified is what is wrong where byCertificate has targets and
// certificates are not verified.
const certificatesUnverified = "allow: names certificates, and none are verified: that takes client_auth_type: RequireAndVerifyClientCert in -web.config.file"

// byCertificate returns the targets that scrapers may see by their certificates.
func byCertificate(file config.File) (names []string) {
	for name, t := range file.Targets {
		if t.Allow != nil && len(t.Allow.Certificates) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
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
