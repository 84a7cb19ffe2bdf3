package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// webGuard stands before the library that serves TLS and asks for passwords, which
// reads the file of both anew for each request and each connection. Where that asks for
// less, as a file does that is just written or was emptied by mistake, so does the
// library; the guard asks for what was asked for when Aegis started. And it finds out
// itself which passwords are right, since the library has all wait for those that are
// not.
type webGuard struct {
	path      string
	begun     exporterweb.Config
	passwords *passwords
	refusals  chan struct{} // a place for each whose reason is on its way over HTTP/2
}

// keep returns next for the scrapers that have what was asked for when Aegis started,
// while the file asks for it.
func (g webGuard) keep(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, err := g.read()
		if err == nil {
			err = g.weaker(now)
		}
		status := http.StatusOK
		switch {
		case err != nil:
			g.refuse(w, r, http.StatusServiceUnavailable, fmt.Sprintf("the file of -web.config.file %v; nobody is served until that is mended, or Aegis is started anew", err))
			return
		case !g.certified(r.TLS, now):
			g.refuse(w, r, http.StatusUnauthorized, "this connection was made without the client certificate that the file of -web.config.file asks for")
			return
		case !named(r.TLS, now.TLSConfig):
			g.refuse(w, r, http.StatusUnauthorized, "the client certificate of this connection has none of the names under client_allowed_sans in the file of -web.config.file")
			return
		case len(now.Users) > 0:
			status = g.passwords.status(r, now)
		}
		switch status {
		case http.StatusOK:
			next.ServeHTTP(w, r)
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", `Basic realm="Aegis"`)
			g.refuse(w, r, status, "this takes a user and a password (basic_auth in Prometheus, in the scrape configuration and under http_sd_configs)")
		default:
			w.Header().Set("Retry-After", strconv.Itoa(int(limits.WrongPasswordInterval.Seconds())))
			g.refuse(w, r, status, fmt.Sprintf("too many wrong passwords from this address, or from many; try again in %v", limits.WrongPasswordInterval))
		}
	})
}

// refuse answers with status and why. Over HTTP/2 one connection has hundreds of requests,
// and a body waits until the scraper takes it: so few have one at once, and the others
// their status and fields only, which wait for nobody.
func (g webGuard) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	if r.ProtoMajor < 2 {
		http.Error(w, why, status)
		return
	}
	select {
	case g.refusals <- struct{}{}:
		defer func() { <-g.refusals }()
	default:
		w.WriteHeader(status)
		return
	}
	answer := http.NewResponseController(w)
	answer.SetWriteDeadline(time.Now().Add(limits.ErrorWriteTimeout))
	http.Error(w, why, status)
	answer.Flush() // Or the body waits when this has returned, and is not counted.
}

func (g webGuard) read() (c exporterweb.Config, err error) {
	text, err := os.ReadFile(g.path)
	if err == nil {
		err = yaml.Unmarshal(text, &c)
	}
	if err != nil {
		return c, errors.New("cannot be read any more (aegis check -web.config.file says why)")
	}
	return c, nil
}

// weaker says what now does not ask of scrapers any more; nil if it asks for all.
func (g webGuard) weaker(now exporterweb.Config) error {
	was, is := g.begun.TLSConfig, now.TLSConfig
	switch {
	case len(g.begun.Users) > 0 && len(now.Users) == 0:
		return errors.New("has no passwords any more")
	case was.IsEnabled() && !is.IsEnabled():
		return errors.New("has no TLS any more")
	case verifies(was.ClientAuth) && is.ClientAuth != was.ClientAuth && is.ClientAuth != "RequireAndVerifyClientCert":
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
	case !verifies(auth):
		return true
	case connection == nil:
		return false
	case len(connection.PeerCertificates) == 0:
		return auth == "VerifyClientCertIfGiven"
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

// named reports whether the certificate of a connection, verified, has one of the names
// that now allows, if it names any. The library looks at them when a connection is made
// that resumes none of before.
func named(connection *tls.ConnectionState, now exporterweb.TLSConfig) bool {
	if len(now.ClientAllowedSans) == 0 {
		return true
	}
	if connection == nil || len(connection.VerifiedChains) == 0 {
		return false
	}
	return now.VerifyPeerCertificate([][]byte{connection.VerifiedChains[0][0].Raw}, nil) == nil
}
