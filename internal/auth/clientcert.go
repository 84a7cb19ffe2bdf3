package auth

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
)

// Values of client_auth_type that verify certificates.
const (
	requireAndVerify = "RequireAndVerifyClientCert"
	verifyIfGiven    = "VerifyClientCertIfGiven"
)

// VerifiesClientCerts reports whether every certificate that a client shows is verified.
func (f *File) VerifiesClientCerts() bool {
	auth := f.config.TLSConfig.ClientAuth
	return auth == requireAndVerify || auth == verifyIfGiven
}

// checkClientAuth returns an error if c restricts client certificates in a way that is unknown or keeps nobody
// out.
func checkClientAuth(c *exporterweb.TLSConfig) error {
	if len(c.ClientAllowedSans) > 0 && c.ClientAuth != requireAndVerify {
		return errors.New("client_allowed_sans needs client_auth_type: " + requireAndVerify +
			", since a client without a certificate has no name")
	}
	switch c.ClientAuth {
	case "RequireAnyClientCert", "RequireClientCert", "RequestClientCert":
		return fmt.Errorf("client_auth_type %s accepts certificates that clients made themselves; use %s"+
			" to verify them, or NoClientCert to request none", c.ClientAuth, requireAndVerify)
	case "", "NoClientCert", verifyIfGiven, requireAndVerify:
		return nil
	}
	return fmt.Errorf("unknown client_auth_type %q; use %s, %s or NoClientCert",
		c.ClientAuth, requireAndVerify, verifyIfGiven)
}

// readClientCAs returns the authorities that verify client certificates. It returns an error if c names
// none: Go would then trust every authority that the system trusts for web sites, or none at all.
func readClientCAs(c *exporterweb.TLSConfig) (authorities []*x509.Certificate, err error) {
	text := []byte(c.ClientCAsText)
	if c.ClientCAs != "" {
		if text, err = os.ReadFile(c.ClientCAs); err != nil {
			return nil, fmt.Errorf("reading client_ca_file: %w", err)
		}
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if ca, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			authorities = append(authorities, ca)
		}
	}
	if len(authorities) == 0 {
		return nil, fmt.Errorf("there is no certificate in client_ca_file or client_ca; client_auth_type %s needs"+
			" that of the authority whose certificates may scrape", c.ClientAuth)
	}
	return authorities, nil
}

// checkClientCert returns an error if conn lacks the client certificate that f requires. The handshake did
// not check for it if conn is older than f, and checked no names if it resumed a session.
func (f *File) checkClientCert(conn *tls.ConnectionState) error {
	c := &f.config.TLSConfig
	switch {
	case !f.VerifiesClientCerts():
		return nil
	case conn == nil:
		return errNoCertificate
	case len(conn.PeerCertificates) == 0 && c.ClientAuth == verifyIfGiven:
		return nil
	}
	trusted := func(chain []*x509.Certificate) bool {
		return slices.ContainsFunc(f.clientCAs, chain[len(chain)-1].Equal)
	}
	if !slices.ContainsFunc(conn.VerifiedChains, trusted) {
		return errNoCertificate
	}
	leaf := [][]byte{conn.PeerCertificates[0].Raw}
	if len(c.ClientAllowedSans) > 0 && c.VerifyPeerCertificate(leaf, nil) != nil {
		return errNoAllowedSAN
	}
	return nil
}
