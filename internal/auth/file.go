package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

// File is a web configuration file in exporter-toolkit's format, read and checked.
type File struct {
	path          string
	config        exporterweb.Config  // paths in it do not depend on the file's directory
	tls           *tls.Config         // nil without TLS
	clientCAs     []*x509.Certificate // authorities that verify client certificates
	costliestHash string              // password hash that takes longest to verify
	limiter       *rate.Limiter       // nil without a rate limit
}

// ReadFile reads and checks the file at path. It returns an error if the file or one
// that it names is missing or invalid, if it checks client certificates in a way that
// keeps nobody out, and if it turns nothing on: that cannot have been the intention.
func ReadFile(path string) (*File, error) {
	f, err := read(path)
	if err != nil {
		// Some errors of the YAML parser span several lines.
		reason := strings.Join(strings.Fields(err.Error()), " ")
		return nil, fmt.Errorf("reading -web.config.file %s: %s%s", path, reason, advice(reason))
	}
	return f, nil
}

func read(path string) (*File, error) {
	// Opening a FIFO blocks until another process writes to it.
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return nil, errors.New("it is a FIFO, which a reload could not read again; use a regular file")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path}
	f.config.TLSConfig.MinVersion = tls.VersionTLS12 // The library's defaults.
	f.config.TLSConfig.MaxVersion = tls.VersionTLS13
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f.config); err != nil && err != io.EOF {
		return nil, err
	}
	f.config.TLSConfig.SetDirectory(filepath.Dir(path))
	if f.costliestHash, err = costliestHash(f.config); err != nil {
		return nil, err
	}
	if err := f.readTLS(); err != nil {
		return nil, err
	}
	// This checks the headers: the library does not export the list of those allowed.
	if err := exporterweb.Validate(path); err != nil {
		return nil, err
	}
	if limit := f.config.RateLimiterConfig; limit.Interval != 0 {
		f.limiter = rate.NewLimiter(rate.Every(limit.Interval), limit.Burst)
	}
	if !f.TLS() && len(f.config.Users) == 0 && len(f.config.HTTPConfig.Header) == 0 && f.limiter == nil {
		return nil, errors.New("it turns nothing on; set tls_server_config or basic_auth_users," +
			" or leave out the flag for plain HTTP")
	}
	return f, nil
}

// costliestHash returns the password hash that takes longest to verify. It returns an
// error that names the user if a hash is not one of bcrypt; the library's does not.
func costliestHash(c exporterweb.Config) (hash string, err error) {
	highest := 0
	for _, user := range slices.Sorted(maps.Keys(c.Users)) {
		cost, err := bcrypt.Cost([]byte(c.Users[user]))
		if err != nil {
			return "", fmt.Errorf("basic_auth_users: the value of %s is not a password hash (%w)", user, err)
		}
		if cost > highest {
			highest, hash = cost, string(c.Users[user])
		}
	}
	return hash, nil
}

// readTLS makes f.tls and reads f.clientCAs.
func (f *File) readTLS() error {
	c := &f.config.TLSConfig
	if err := checkClientAuth(c); err != nil {
		return err
	}
	if !c.IsEnabled() {
		return nil
	}
	var err error
	if f.VerifiesClientCerts() {
		if f.clientCAs, err = readClientCAs(c); err != nil {
			return err
		}
	}
	if f.tls, err = exporterweb.ConfigToTLSConfig(c); err != nil {
		return err
	}
	f.tls.NextProtos = []string{"http/1.1"}
	return nil
}

// Path returns the path that ReadFile read.
func (f *File) Path() string { return f.path }

// TLS reports whether the file turns TLS on.
func (f *File) TLS() bool { return f.tls != nil }

// CertificatePath returns the path of the server certificate. It returns an empty string
// if there is none or the web file itself contains it.
func (f *File) CertificatePath() string { return f.config.TLSConfig.TLSCertPath }

// CertificateExpiredAt reads the server certificate and returns when it expired. It
// returns the zero time if the certificate is still valid, cannot be read, or there is
// none.
func (f *File) CertificateExpiredAt() time.Time {
	if !f.TLS() {
		return time.Time{}
	}
	certificate, err := f.tls.GetCertificate(nil)
	if err != nil || time.Now().Before(certificate.Leaf.NotAfter) {
		return time.Time{}
	}
	return certificate.Leaf.NotAfter
}
