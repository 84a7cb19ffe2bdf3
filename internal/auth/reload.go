package auth

import (
	"errors"
	"fmt"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
)

// Reload reads the file again and puts it to use. It returns an error and keeps the file
// in use if the new one is invalid or asks clients for less. Only one call may run at a
// time.
//
// A server that began without TLS cannot turn it on; Reload then logs a warning and puts
// the rest of the file to use.
func (a *Authenticator) Reload() error {
	inUse := a.File()
	next, err := ReadFile(inUse.path)
	if err != nil {
		return err
	}
	if err := checkNotWeaker(inUse, next); err != nil {
		return fmt.Errorf("reloading -web.config.file: %s %w; asking clients for less takes a restart",
			inUse.path, err)
	}
	if next.TLS() && !inUse.TLS() {
		a.log.Warn("TLS stays off: turning it on takes a restart", "file", next.path)
		next.config.TLSConfig, next.tls, next.clientCAs = exporterweb.TLSConfig{}, nil, nil
	}
	a.file.Store(next)
	return nil
}

// checkNotWeaker returns an error that says what next does not ask of clients any more,
// but inUse does.
func checkNotWeaker(inUse, next *File) error {
	was, is := inUse.config.TLSConfig, next.config.TLSConfig
	switch {
	case len(inUse.config.Users) > 0 && len(next.config.Users) == 0:
		return errors.New("has no passwords any more")
	case inUse.TLS() && !next.TLS():
		return errors.New("has no TLS any more")
	case inUse.VerifiesClientCerts() && is.ClientAuth != was.ClientAuth && is.ClientAuth != requireAndVerify:
		return fmt.Errorf("does not have client_auth_type: %s any more", was.ClientAuth)
	case len(was.ClientAllowedSans) > 0 && len(is.ClientAllowedSans) == 0:
		return errors.New("has no client_allowed_sans any more")
	}
	return nil
}
