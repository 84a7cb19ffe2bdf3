package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/suggest"
)

// File is a web configuration file in exporter-toolkit's format, read and checked.
type File struct {
	path          string
	config        exporterweb.Config  // paths in it do not depend on the file's directory
	tls           *tls.Config         // nil without TLS
	clientCAs     []*x509.Certificate // authorities that verify client certificates
	costliestHash []byte              // password hash that takes longest to verify
	limiter       *rate.Limiter       // nil without a rate limit
}

// ReadFile reads and checks the file at path, and returns nil if path is empty. It returns an error if the
// file or one that it names is missing or invalid, if it checks client certificates in a way that keeps nobody
// out, and if it turns nothing on: that cannot have been the intention.
func ReadFile(path string) (*File, error) { return readFile(path, (*File).readTLS) }

// CheckSyntax is like ReadFile, but the files that the file names may be missing. A server cannot use the result.
func CheckSyntax(path string) (*File, error) { return readFile(path, (*File).validate) }

func readFile(path string, readTLS func(*File) error) (*File, error) {
	if path == "" {
		return nil, nil
	}
	f, err := read(path, readTLS)
	if err != nil {
		reason := firstFault(err)
		return nil, fmt.Errorf("reading -web.config.file %s: %s%s", path, reason, advice(reason))
	}
	return f, nil
}

func read(path string, readTLS func(*File) error) (*File, error) {
	// Opening a FIFO blocks until another process writes to it.
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return nil, errors.New("it is a FIFO, which a reload could not read again; use a regular file")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path}
	c := &f.config
	c.TLSConfig.MinVersion, c.TLSConfig.MaxVersion = tls.VersionTLS12, tls.VersionTLS13 // the library's defaults
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); err != nil && err != io.EOF {
		return nil, err
	}
	c.TLSConfig.SetDirectory(filepath.Dir(path))
	if f.costliestHash, err = costliestHash(*c); err != nil {
		return nil, err
	}
	if err := checkClientAuth(&c.TLSConfig); err != nil {
		return nil, err
	}
	if err := readTLS(f); err != nil {
		return nil, err
	}
	if limit := c.RateLimiterConfig; limit.Interval != 0 {
		f.limiter = rate.NewLimiter(rate.Every(limit.Interval), limit.Burst)
	}
	if !c.TLSConfig.IsEnabled() && len(c.Users) == 0 && len(c.HTTPConfig.Header) == 0 && f.limiter == nil {
		return nil, errors.New("it turns nothing on; set tls_server_config or basic_auth_users," +
			" or leave out the flag for plain HTTP")
	}
	return f, nil
}

// costliestHash returns the password hash that takes longest to verify. If one is not of bcrypt, it returns
// an error that names the user; the library's does not.
func costliestHash(c exporterweb.Config) (costliest []byte, err error) {
	highest := 0
	for user, secret := range c.Users {
		hash := []byte(secret)
		cost, err := bcrypt.Cost(hash)
		if err != nil {
			return nil, fmt.Errorf("basic_auth_users: the value of %s is not a password hash (%w)", user, err)
		}
		if cost > highest {
			highest, costliest = cost, hash
		}
	}
	return costliest, nil
}

// readTLS sets f.tls and f.clientCAs.
func (f *File) readTLS() (err error) {
	c := &f.config.TLSConfig
	if !c.IsEnabled() {
		return f.validate()
	}
	if f.VerifiesClientCerts() {
		if f.clientCAs, err = readClientCAs(c); err != nil {
			return err
		}
	}
	if f.tls, err = exporterweb.ConfigToTLSConfig(c); err != nil {
		return err
	}
	f.tls.NextProtos = []string{"http/1.1"}
	return f.validate()
}

// validate has the library check the file. It alone knows which headers may be set, and checks them before it
// reads the files that the file names. These may be missing.
func (f *File) validate() error {
	err := exporterweb.Validate(f.path)
	if _, ok := errors.AsType[*fs.PathError](err); ok || err != nil && strings.HasPrefix(err.Error(), "failed to read ") {
		return nil
	}
	return err
}

// unknownField matches what the YAML parser says about a key that a struct of the library lacks.
var unknownField = regexp.MustCompile(`field (\S+) not found in type web\.(\w+)`)

// wrongType replaces what the YAML parser says about a value that does not fit into a field of the library.
var wrongType = strings.NewReplacer(
	"cannot unmarshal !!seq", "the value is a list", "cannot unmarshal !!map", "the value is a mapping",
	"cannot unmarshal !!str", "the value is", "cannot unmarshal !!int", "the value is",
	" into string", ", and must be text", " into time.Duration", ", and must be a duration such as 1s",
	" into int", ", and must be a number", " into bool", ", and must be true or false",
	" into []string", ", and must be a list", " into web.", ", and must be a mapping of keys, a ",
	" into map[string]config.Secret", `, and must be a mapping: write each user as NAME: "HASH"`,
	" into map[string]string", ", and must be a mapping of names to values",
)

// firstFault returns the first of the faults in err, in one line. It names the keys that may stand where
// another key does.
func firstFault(err error) string {
	reason := err.Error()
	if faults, ok := errors.AsType[*yaml.TypeError](err); ok {
		reason = faults.Errors[0]
	}
	reason = wrongType.Replace(strings.Join(strings.Fields(reason), " "))
	return unknownField.ReplaceAllStringFunc(reason, func(text string) string {
		match := unknownField.FindStringSubmatch(text)
		known := keys[match[2]]
		if nearest := suggest.Nearest(match[1], known); nearest != "" {
			return fmt.Sprintf("unknown key %q; did you mean %s?", match[1], nearest)
		}
		return fmt.Sprintf("unknown key %q; the keys here are %s", match[1], strings.Join(known, ", "))
	})
}

// keys has the keys of the library's structs, by their names.
var keys = func() map[string][]string {
	all := make(map[string][]string)
	for _, of := range []any{exporterweb.Config{}, exporterweb.TLSConfig{}, exporterweb.HTTPConfig{}, exporterweb.RateLimiterConfig{}} {
		t := reflect.TypeOf(of)
		for field := range t.Fields() {
			key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			all[t.Name()] = append(all[t.Name()], key)
		}
	}
	return all
}()

// advice returns a clause that says what to do about reason, an error of the library or the YAML parser, or
// an empty string.
func advice(reason string) string {
	for _, errno := range []error{unix.EACCES, unix.ENOENT} {
		if before, _, found := strings.Cut(reason, ": "+errno.Error()); found {
			path := before[strings.LastIndex(before, "open ")+len("open "):]
			return socketdir.ReadRemedy(path, errno)
		}
	}
	for _, known := range []struct{ part, advice string }{
		{"bcrypt", "basic_auth_users needs hashes as htpasswd -nBC 10 NAME prints them"},
		{`unknown key "targets"`, "this is a targets file, use it with -config.file"},
		{"any PEM data in key input", "put the key itself under key, or its path under key_file"},
		{"any PEM data in certificate", "put the certificate itself under cert, or its path under cert_file"},
		{"private key does not match", "cert_file and key_file must belong to the same certificate"},
		{"without a Client Auth Policy", "set client_auth_type: " + requireAndVerify},
		{"unknown TLS version", "it must be TLS10, TLS11, TLS12 or TLS13"},
		{"cannot start any token", "indent with spaces, not tabs, and quote what begins with @, % or `"},
	} {
		if strings.Contains(reason, known.part) {
			return "; " + known.advice
		}
	}
	return ""
}

// HasPlaintextPasswords reports whether clients send passwords without TLS.
func (f *File) HasPlaintextPasswords() bool {
	return len(f.config.Users) > 0 && !f.config.TLSConfig.IsEnabled()
}

// CertificatePath returns the path of the server certificate, empty if the web file contains it or has none.
func (f *File) CertificatePath() string { return f.config.TLSConfig.TLSCertPath }

// CertificateExpiredAt reads the server certificate and returns when it expired. It returns the zero time if
// the certificate is still valid or cannot be read, or if there is none.
func (f *File) CertificateExpiredAt() time.Time {
	if f.tls != nil {
		if c, err := f.tls.GetCertificate(nil); err == nil && time.Now().After(c.Leaf.NotAfter) {
			return c.Leaf.NotAfter
		}
	}
	return time.Time{}
}
