package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
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
		err = errors.Join(checkClientCAs(path, c.TLSConfig), checkHashes(c))
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
		{"permission denied", "; it is read as " + socketdir.CurrentUser()},
		{"field targets not found", "; this is a targets file, which -config.file takes"},
		{"invalid ClientAuth", "; client_auth_type is RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert"},
		{"any PEM data in key input", "; the key itself goes under key, its file's name under key_file"},
		{"any PEM data in certificate input", "; the certificate itself goes under cert, its file's name under cert_file"},
		{"private key does not match", "; cert_file and key_file are not of the same certificate"},
		{"without a Client Auth Policy", "; client_auth_type: RequireAndVerifyClientCert has them asked for"},
		{"unknown TLS version", "; it is TLS10, TLS11, TLS12 or TLS13"},
		{"map[string]config.Secret", "; under basic_auth_users stand names, and behind each a colon, a space and its hash in quotes"},
		{"not found in type web.Config", "; known are tls_server_config, http_server_config, basic_auth_users and rate_limit"},
		{"cannot start any token", "; a tab indents nothing, and what begins with @, % or ` needs quotes"},
	} {
		if strings.Contains(says, known.part) {
			return known.advice
		}
	}
	return ""
}

// checkHashes returns an error if the hash of a password is none of bcrypt: the library
// says so without the user.
func checkHashes(c exporterweb.Config) error {
	for _, user := range slices.Sorted(maps.Keys(c.Users)) {
		if _, err := bcrypt.Cost([]byte(c.Users[user])); err != nil {
			return fmt.Errorf("basic_auth_users: the password of %s is no hash (%w)", user, err)
		}
	}
	return nil
}

// checkClientCAs returns an error if certificates of scrapers are verified, and not by
// what the file at path names: Go would take them of every authority that the system
// trusts for web sites, or of none. And if they are asked for and not verified, which
// keeps nobody out; or if names are allowed, and one need not show a
// certificate: the library panics at none, with a line of the log for each.
func checkClientCAs(path string, c exporterweb.TLSConfig) error {
	if len(c.ClientAllowedSans) > 0 && c.ClientAuth != "RequireAndVerifyClientCert" {
		return errors.New("client_allowed_sans takes client_auth_type: RequireAndVerifyClientCert: who need not show a certificate has no name")
	}
	switch {
	case verifies(c.ClientAuth):
		_, err := clientCAs(path, c)
		return err
	case c.ClientAuth == "RequireAnyClientCert", c.ClientAuth == "RequestClientCert":
		return fmt.Errorf("client_auth_type %s lets in who made a certificate for himself; RequireAndVerifyClientCert verifies it, NoClientCert asks for none", c.ClientAuth)
	}
	return nil
}

// clientCAs returns the authorities whose certificates of scrapers are verified.
func clientCAs(path string, c exporterweb.TLSConfig) ([]*x509.Certificate, error) {
	text, from := []byte(c.ClientCAsText), "client_ca"
	if c.ClientCAs != "" {
		from = "client_ca_file " + c.ClientCAs
		c.SetDirectory(filepath.Dir(path))
		var err error
		if text, err = os.ReadFile(c.ClientCAs); err != nil {
			return nil, fmt.Errorf("reading client_ca_file: %w", err)
		}
	}
	var authorities []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			authorities = append(authorities, c)
		}
	}
	switch {
	case len(text) == 0 && c.ClientCAs == "":
		return nil, fmt.Errorf("client_auth_type %s takes a client_ca_file: the authority whose certificates may scrape", c.ClientAuth)
	case len(authorities) == 0:
		return nil, fmt.Errorf("there is no certificate in %s", from)
	}
	return authorities, nil
}

// certificateExpired is what is wrong where expired returns a time.
const certificateExpired = "the server's certificate has expired, and scrapers that check it get nowhere; it needs a new one"

// expired returns when the server's certificate expired; zero if it has not, or there
// is none.
func expired(path string, c exporterweb.TLSConfig) time.Time {
	if c.TLSCertPath == "" {
		return time.Time{}
	}
	c.SetDirectory(filepath.Dir(path))
	pair, err := tls.LoadX509KeyPair(c.TLSCertPath, c.TLSKeyPath)
	if err != nil || time.Now().Before(pair.Leaf.NotAfter) {
		return time.Time{}
	}
	return pair.Leaf.NotAfter
}

// verifies reports whether clientAuth, a client_auth_type, has certificates verified.
func verifies(clientAuth string) bool {
	return clientAuth == "RequireAndVerifyClientCert" || clientAuth == "VerifyClientCertIfGiven"
}

// certificatesUnverified is what is wrong where byCertificate has targets and
// certificates are not verified.
const certificatesUnverified = "allow: names certificates, and none are verified: that takes client_auth_type: RequireAndVerifyClientCert in -web.config.file"

// byCertificate returns the targets that scrapers may see by their certificates.
func byCertificate(file targetsfile.File) (names []string) {
	for name, t := range file.Targets {
		if t.Allow != nil && len(t.Allow.Certificates) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
