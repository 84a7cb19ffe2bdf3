// Package target knows which targets there are and how each of them does.
//
// A target is a socket in the directory, or one that the targets file names elsewhere. Set.Get turns a name
// into a Target, a handle that carries the target's settings and its record; the scrape and everything
// recorded about it go through that handle.
//
// Errors of a scrape become results here (ResultOf). The record feeds the log, the status line, the page for
// people and the metrics of scrapes.
package target

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Set is all targets: the sockets in a directory, with the settings that the targets file has for them, the
// sockets of Varlink services in another, and the targets that only the file has. It remembers how scrapes
// went, for at most limits.MaxTargets targets.
type Set struct {
	dir     socketdir.Dir
	varlink socketdir.Dir // the zero Dir if there is none
	file    atomic.Pointer[targetsfile.File]
	// varlinkAlone means that the directory of sockets counts as empty while it does not exist.
	varlinkAlone bool
	log          *slog.Logger
	client       scrape.Client
	metrics      *metrics
	changed      chan struct{} // see Changed

	slots   *limits.Semaphore // of scrapes in flight
	busyLog limits.LogLimiter

	mu       sync.Mutex
	records  map[string]*record // by name
	others   *record            // of all targets beyond limits.MaxTargets; it has no state
	listed   map[string]bool    // sockets that the last reconciliation saw
	warnings warnings
}

// NewSet returns the targets of dir and file. It registers their metrics with registry, and does not read the
// directory yet.
func NewSet(dir socketdir.Dir, file targetsfile.File, log *slog.Logger, registry prometheus.Registerer) *Set {
	s := &Set{
		dir:     dir,
		log:     log,
		changed: make(chan struct{}, 1),
		slots:   limits.NewSemaphore(limits.MaxScrapes),
		records: make(map[string]*record),
		others:  newRecord(otherTargets, limits.MaxScrapes/2),
	}
	s.file.Store(&file)
	s.metrics = newMetrics(s, registry)
	return s
}

// AddVarlink adds the sockets in dir, whose services speak Varlink. If alone, the directory of sockets need not
// exist. AddVarlink is called before any other method.
func (s *Set) AddVarlink(dir socketdir.Dir, alone bool) { s.varlink, s.varlinkAlone = dir, alone }

// Dir returns the directory of sockets.
func (s *Set) Dir() socketdir.Dir { return s.dir }

// SetFile replaces the targets file. It logs which targets become visible to every client.
func (s *Set) SetFile(file targetsfile.File) {
	before := *s.file.Swap(&file)
	for _, name := range slices.Sorted(maps.Keys(before.Targets)) {
		if before.Targets[name].Allow != nil && file.Target(name).Allow == nil && !file.Target(name).Disabled {
			s.log.Warn("the targets file now allows every client to scrape a target that it restricted before", "target", name)
		}
	}
	s.Notify()
}

// Get returns the target called name, which need not exist or be a valid name.
func (s *Set) Get(name string) Target {
	file := s.file.Load()
	t := Target{Name: name, Settings: file.Target(name), set: s}
	_, t.inFile = file.Targets[name]
	s.mu.Lock()
	t.record = s.records[name]
	s.mu.Unlock()
	return t
}

// File returns the targets file in use.
func (s *Set) File() targetsfile.File { return *s.file.Load() }

// Changed returns a channel that has an element if the status line may have changed.
func (s *Set) Changed() <-chan struct{} { return s.changed }

// Notify says that the status line may have changed.
func (s *Set) Notify() {
	select {
	case s.changed <- struct{}{}:
	default: // The last notification has not been received yet.
	}
}
