package targetsfile

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// File is what a targets file says. The zero value is that of a file that says
// nothing, or of none.
type File struct {
	// Targets by name.
	Targets map[string]Target
}

// Target is what convention cannot say of a target.
type Target struct {
	// Socket is the absolute path of its socket; empty where that is NAME.sock
	// in the folder.
	Socket string
	// Path is what is asked for, with a slash first; /metrics by default.
	Path string
	// Raw is that the socket writes its exposition to whoever connects, and
	// closes, without HTTP.
	Raw bool
	// Labels are added in discovery.
	Labels map[string]string
	// Timeout bounds a scrape, whatever the scraper asks for; 0 does not.
	Timeout time.Duration
	// Disabled is that it is not served.
	Disabled bool
	// Allow says which scrapers may see it; nil is all.
	Allow *Allow
}

// Allow names scrapers. One that is named in either list may.
type Allow struct {
	Addresses []netip.Prefix
	// Certificates are common names or DNS names of client certificates.
	Certificates []string
}

// ReservedName is the one valid name that is no target's: it is that of a page of
// Aegis' own.
const ReservedName = "metrics"

// Default is a target of which no file says anything.
var Default = Target{Path: "/metrics"}

// Target returns what is said of name.
func (f File) Target(name string) Target {
	if t, ok := f.Targets[name]; ok {
		return t
	}
	return Default
}

// Read reads the targets file at path. The error names the file and wraps a *Fault.
func Read(path string) (File, error) {
	text, err := read(path)
	if err != nil {
		return File{}, &Fault{Reason: Unreadable, err: fmt.Errorf("reading the targets file: %w", err)}
	}
	f, err := parse(text)
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func read(path string) ([]byte, error) {
	// Opening a pipe waits for who writes to it.
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return nil, fmt.Errorf("%s is a pipe, which a reload could not read again; it takes a file", path)
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w; it is read as %s", err, socketdir.CurrentUser())
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limits.MaxTargetsFileSize+1))
	if err == nil && len(text) > limits.MaxTargetsFileSize {
		err = fmt.Errorf("%s is larger than %d MiB", path, limits.MaxTargetsFileSize>>20)
	}
	return text, err
}
