// Package targetsfile reads the targets file: the settings of individual targets that differ from
// the convention, such as another path, a socket outside of the socket directory, or which scrapers
// may scrape the target. Anything that the package does not know is an error that names the line.
package targetsfile

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
)

// File is the content of a targets file. The zero value has no targets, and stands for no file too.
type File struct {
	Targets map[string]Target // by name
}

// Target holds the settings of one target.
type Target struct {
	Socket   string            // absolute path of its socket; empty for NAME.sock in the socket directory
	Protocol string            // of package scrape
	Path     string            // path of the request to the service
	Params   map[string]string // the query, for keys that the scraper's own query lacks
	Host     string            // sent instead of the scraper's; empty for that
	// ContentType replaces that of the response, unless it is empty.
	ContentType string
	Labels      map[string]string // added to the target in service discovery
	Timeout     time.Duration     // limits a scrape, even if the scraper would wait longer; 0 for no limit
	Disabled    bool              // Aegis does not serve the target
	Allow       *Allow            // names the scrapers that may scrape the target; nil allows all
}

// Allow names scrapers. A scraper that matches an entry of either list is allowed.
type Allow struct {
	Addresses    []netip.Prefix
	Certificates []string // common names or DNS names of client certificates
}

// ReservedName is the only valid name that a target cannot have: /metrics serves Aegis' own metrics.
const ReservedName = "metrics"

// Default holds the settings of a target that is not in the file.
var Default = Target{Protocol: scrape.HTTP, Path: "/metrics"}

// Target returns the settings of the target called name, or Default.
func (f File) Target(name string) Target {
	if t, ok := f.Targets[name]; ok {
		return t
	}
	return Default
}

// DuplicateLabels returns a target of f, and a target outside of f for which exists returns true,
// if both have the same labels in service discovery; "" if there are none.
func (f File) DuplicateLabels(exists func(name string) bool) (target, other string) {
	for _, name := range slices.Sorted(maps.Keys(f.Targets)) {
		t := f.Targets[name]
		job := t.Labels["job"]
		_, inFile := f.Targets[job]
		if !t.Disabled && len(t.Labels) == 1 && job != "" && !inFile && exists(job) {
			return name, job
		}
	}
	return "", ""
}

// Reason is the kind of a fault. Metrics have it as a label, so it contains nothing of the file's text.
type Reason string

// The kinds of faults in a targets file.
const (
	Unreadable Reason = "unreadable"  // Aegis cannot read the file.
	Syntax     Reason = "syntax"      // The file is not YAML.
	UnknownKey Reason = "unknown_key" // The file has a key that Aegis does not know.
	WrongValue Reason = "wrong_value" // A value or a name is not valid.
)

// Fault describes the first mistake in a targets file.
type Fault struct {
	Reason Reason
	Line   int // counted from 1; 0 if the fault has no line
	text   string
}

// Error returns the line and what is wrong there.
func (f *Fault) Error() string {
	if f.Line == 0 {
		return f.text
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.text)
}

// Read reads the targets file at path. An error names the file and wraps a *Fault.
func Read(path string) (File, error) {
	text, err := readText(path)
	if err != nil {
		return File{}, &Fault{Reason: Unreadable, text: fmt.Sprintf("reading the targets file: %v", err)}
	}
	f, err := parse(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return f, err
}

func readText(path string) ([]byte, error) {
	// Opening a FIFO blocks until another process opens it for writing.
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return nil, fmt.Errorf("%s is a FIFO, which a reload cannot read again; use a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, socketdir.ReadRemedy(path, err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limits.MaxTargetsFileSize+1))
	if err == nil && len(text) > limits.MaxTargetsFileSize {
		err = fmt.Errorf("%s is larger than %d MiB", path, limits.MaxTargetsFileSize>>20)
	}
	return text, err
}
