package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
)

// webGuard keeps what the file for TLS and authentication asked of scrapers when
// Aegis started. The library reads the file anew for each request and each connection,
// and where that asks for less, as a file does that is just written or was emptied by
// mistake, so does the library.
type webGuard struct {
	path  string
	begun exporterweb.Config
}

// settled is how long ago a file has to have changed for nobody to write to it still.
const settled = 2 * time.Second

// keep returns next for the scrapers that have what was asked for when Aegis started,
// while the file asks for it.
func (g webGuard) keep(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, changed, err := g.read()
		if err == nil {
			err = g.weaker(now)
		}
		switch {
		case err != nil:
			http.Error(w, fmt.Sprintf("the file of -web.config.file %v; nobody is served until it has, or Aegis is started anew", err), http.StatusServiceUnavailable)
		case !g.certified(r.TLS, now):
			http.Error(w, "this connection was made without the client certificate that the file of -web.config.file asks for", http.StatusUnauthorized)
		case len(g.begun.Users) > 0 && time.Since(changed) < settled && !knows(now, r):
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// read reads the file, and when it was changed last, which nobody can set.
func (g webGuard) read() (c exporterweb.Config, changed time.Time, err error) {
	text, err := os.ReadFile(g.path)
	if err == nil {
		err = yaml.Unmarshal(text, &c)
	}
	var st syscall.Stat_t
	if err == nil {
		err = syscall.Stat(g.path, &st)
	}
	if err != nil {
		return c, changed, errors.New("has no meaning any more")
	}
	return c, time.Unix(st.Ctim.Unix()), nil
}

// weaker says what now does not ask of scrapers any more; nil if it asks for all.
func (g webGuard) weaker(now exporterweb.Config) error {
	was, is := g.begun.TLSConfig, now.TLSConfig
	switch {
	case len(g.begun.Users) > 0 && len(now.Users) == 0:
		return errors.New("has no passwords any more")
	case was.IsEnabled() && !is.IsEnabled():
		return errors.New("has no TLS any more")
	case asksForCertificates(was.ClientAuth) && is.ClientAuth != was.ClientAuth && is.ClientAuth != "RequireAndVerifyClientCert":
		return fmt.Errorf("does not have client_auth_type: %s any more", was.ClientAuth)
	case len(was.ClientAllowedSans) > 0 && len(is.ClientAllowedSans) == 0:
		return errors.New("has no client_allowed_sans any more")
	case verifies(is.ClientAuth):
		if _, err := clientCAs(g.path, is); err != nil {
			return errors.New("has no client_ca_file with a certificate any more")
		}
	}
	return nil
}

// certified reports whether a connection has the certificate that was asked for when
// Aegis started, and if one was verified, that this was by an authority of now: the
// connection may have been made in a moment in which the file said something else.
func (g webGuard) certified(connection *tls.ConnectionState, now exporterweb.Config) bool {
	auth := g.begun.TLSConfig.ClientAuth
	switch {
	case !asksForCertificates(auth):
		return true
	case connection == nil:
		return false
	case len(connection.PeerCertificates) == 0:
		return auth == "VerifyClientCertIfGiven"
	case !verifies(auth):
		return true
	}
	authorities, err := clientCAs(g.path, now.TLSConfig)
	if err != nil {
		return false
	}
	for _, chain := range connection.VerifiedChains {
		if slices.ContainsFunc(authorities, chain[len(chain)-1].Equal) {
			return true
		}
	}
	return false
}

// asksForCertificates reports whether clientAuth, a client_auth_type, has scrapers
// show a certificate, or the one that they show verified.
func asksForCertificates(clientAuth string) bool {
	switch clientAuth {
	case "", "NoClientCert", "RequestClientCert":
		return false
	}
	return true
}

// knows reports whether r has the password of one of the users of c.
func knows(c exporterweb.Config, r *http.Request) bool {
	name, password, ok := r.BasicAuth()
	return ok && bcrypt.CompareHashAndPassword([]byte(c.Users[name]), []byte(password)) == nil
}
