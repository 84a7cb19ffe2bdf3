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

// checkClientAuth returns an error if c restricts client certificates in a way that keeps
// nobody out.
func checkClientAuth(c *exporterweb.TLSConfig) error {
	if len(c.ClientAllowedSans) > 0 && c.ClientAuth != requireAndVerify {
		return errors.New("client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert," +
			" since a client without a certificate has no name")
	}
	switch c.ClientAuth {
	case "RequireAnyClientCert", "RequireClientCert", "RequestClientCert":
		return fmt.Errorf("client_auth_type %s accepts certificates that clients made themselves;"+
			" use RequireAndVerifyClientCert to verify them, or NoClientCert to request none", c.ClientAuth)
	}
	return nil
}

// readClientCAs returns the authorities that verify client certificates. It returns an
// error if c names none: Go would then trust every authority that the system trusts for
// web sites, or none at all.
func readClientCAs(c *exporterweb.TLSConfig) ([]*x509.Certificate, error) {
	text, source := []byte(c.ClientCAsText), "client_ca"
	if c.ClientCAs != "" {
		var err error
		if text, err = os.ReadFile(c.ClientCAs); err != nil {
			return nil, fmt.Errorf("reading client_ca_file: %w", err)
		}
		source = "client_ca_file " + c.ClientCAs
	} else if len(text) == 0 {
		return nil, fmt.Errorf("client_auth_type %s needs a client_ca_file:"+
			" the authority whose certificates may scrape", c.ClientAuth)
	}
	var authorities []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if ca, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			authorities = append(authorities, ca)
		}
	}
	if len(authorities) == 0 {
		return nil, fmt.Errorf("there is no certificate in %s", source)
	}
	return authorities, nil
}

// hasVerifiedCert reports whether conn has the client certificate that f requires, and
// whether an authority of f verified it: conn may be older than f.
func (f *File) hasVerifiedCert(conn *tls.ConnectionState) bool {
	switch {
	case !f.VerifiesClientCerts():
		return true
	case conn == nil:
		return false
	case len(conn.PeerCertificates) == 0:
		return f.config.TLSConfig.ClientAuth == verifyIfGiven
	}
	return slices.ContainsFunc(conn.VerifiedChains, func(chain []*x509.Certificate) bool {
		return slices.ContainsFunc(f.clientCAs, chain[len(chain)-1].Equal)
	})
}

// hasAllowedSAN reports whether the client certificate of conn has a name that f allows,
// or f allows all. The TLS library checks that only in handshakes that do not resume a
// session.
func (f *File) hasAllowedSAN(conn *tls.ConnectionState) bool {
	c := &f.config.TLSConfig
	if len(c.ClientAllowedSans) == 0 {
		return true
	}
	return conn != nil && len(conn.PeerCertificates) > 0 &&
		c.VerifyPeerCertificate([][]byte{conn.PeerCertificates[0].Raw}, nil) == nil
}
