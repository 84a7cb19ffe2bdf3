// Package auth enforces the web file: TLS, client certificates, passwords, response headers and a rate
// limit, in the format of Prometheus' exporter-toolkit.
//
// The file is read at start and at reload. Server certificates and keys are read for each handshake, so
// renewing them needs no reload. The library's own handler would read the whole file for each request, and
// verify one password at a time.
package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Reasons why a request is refused; the client gets them as text.
var (
	errNoCertificate = errors.New("this connection has no client certificate from an authority" +
		" under client_ca_file in -web.config.file; connect again with one")
	errNoAllowedSAN = errors.New("the client certificate of this connection has none of the names" +
		" under client_allowed_sans in -web.config.file")
	errWrongPassword = errors.New("this needs a user and a password" +
		" (basic_auth in Prometheus, in the scrape configuration and under http_sd_configs)")
	errTooManyPasswords = fmt.Errorf("too many wrong passwords, from this address or in total; try again in %v",
		limits.WrongPasswordInterval)
	errRateLimit = errors.New("more requests than rate_limit in -web.config.file allows; try again later")
)

// Authenticator enforces the web file in use.
type Authenticator struct {
	file      atomic.Pointer[File]
	passwords *passwordVerifier
}

// New returns an Authenticator that enforces f.
func New(f *File, log *slog.Logger) *Authenticator {
	a := &Authenticator{passwords: newPasswordVerifier(log)}
	a.file.Store(f)
	return a
}

// File returns the file in use.
func (a *Authenticator) File() *File { return a.file.Load() }

// TLSConfig returns the TLS configuration of a server, nil if the file has no TLS. Each handshake follows
// the file in use.
func (a *Authenticator) TLSConfig() *tls.Config {
	if a.File().tls == nil {
		return nil
	}
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return a.File().tls, nil
	}}
}

// Handler returns a handler that runs next for the requests that the file in use admits, and refuses the
// others. It sets the response headers of the file for both.
func (a *Authenticator) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := a.File()
		for name, value := range f.config.HTTPConfig.Header {
			w.Header().Set(name, value)
		}
		if err := a.authorize(r, f); err != nil {
			refuse(w, f, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authorize returns nil if f admits r, else why not. Only requests with the right credentials count towards
// the rate limit: it is one for all clients, and those without a password must not use it up.
func (a *Authenticator) authorize(r *http.Request, f *File) error {
	if err := f.checkClientCert(r.TLS); err != nil {
		return err
	}
	if len(f.config.Users) > 0 {
		if err := a.passwords.verify(r, f); err != nil {
			return err
		}
	}
	if f.limiter != nil && !f.limiter.Allow() {
		return errRateLimit
	}
	return nil
}

// refuse sends err with its status. RFC 9110 requires a challenge in each 401; no registered scheme is for
// client certificates.
func refuse(w http.ResponseWriter, f *File, err error) {
	status, wait := http.StatusUnauthorized, time.Duration(0)
	switch err {
	case errWrongPassword:
		w.Header().Set("WWW-Authenticate", `Basic realm="Aegis"`)
	case errTooManyPasswords:
		status, wait = http.StatusTooManyRequests, limits.WrongPasswordInterval
	case errRateLimit:
		status, wait = http.StatusTooManyRequests, f.config.RateLimiterConfig.Interval
	default:
		w.Header().Set("WWW-Authenticate", `ClientCertificate realm="Aegis"`)
	}
	if err != errRateLimit {
		// Another certificate needs another handshake, and a flood of wrong passwords should need one too.
		w.Header().Set("Connection", "close")
	}
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	http.Error(w, err.Error(), status)
}

// Reload reads the file again and puts it to use. It returns an error and keeps the file in use if the new
// one is invalid, weaker, or turns TLS on, which a server cannot do later. Only one call may run at a time.
func (a *Authenticator) Reload() error {
	inUse := a.File()
	next, err := ReadFile(inUse.path)
	if err != nil {
		return err
	}
	if err := checkReload(inUse, next); err != nil {
		return fmt.Errorf("reloading -web.config.file: %s %w; that takes a restart", inUse.path, err)
	}
	a.file.Store(next)
	return nil
}

// checkReload returns an error that says what inUse demands of clients but next does not, or that next turns TLS on.
func checkReload(inUse, next *File) error {
	was, is := inUse.config.TLSConfig, next.config.TLSConfig
	switch {
	case len(inUse.config.Users) > 0 && len(next.config.Users) == 0:
		return errors.New("has no passwords any more")
	case inUse.tls != nil && next.tls == nil:
		return errors.New("has no TLS any more")
	case inUse.tls == nil && next.tls != nil:
		return errors.New("turns TLS on")
	case inUse.VerifiesClientCerts() && is.ClientAuth != was.ClientAuth && is.ClientAuth != requireAndVerify:
		return fmt.Errorf("does not have client_auth_type: %s any more", was.ClientAuth)
	case len(was.ClientAllowedSans) > 0 && len(is.ClientAllowedSans) == 0:
		return errors.New("has no client_allowed_sans any more")
	}
	return nil
}
