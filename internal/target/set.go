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

// Set is all targets: the sockets in a directory, with the settings that the targets file
// has for them, and the targets that only the file has. It remembers how scrapes went, for
// at most limits.MaxTargets targets.
type Set struct {
	dir     socketdir.Dir
	file    atomic.Pointer[targetsfile.File]
	log     *slog.Logger
	client  scrape.Client
	metrics *metrics
	changed chan struct{} // has an element if a state has changed since the last status line

	slots    *limits.Semaphore // of scrapes in flight
	inFlight atomic.Int64
	busyLog  limits.LogLimiter

	mu       sync.Mutex
	records  map[string]*record // by name
	listed   map[string]bool    // sockets that the last reconciliation saw
	warnings warnings
}

// NewSet returns the targets of dir and file. It registers the metrics of scrapes with
// registry, and does not read the directory yet.
func NewSet(dir socketdir.Dir, file targetsfile.File, log *slog.Logger, registry prometheus.Registerer) *Set {
	s := &Set{
		dir:     dir,
		log:     log,
		changed: make(chan struct{}, 1),
		slots:   limits.NewSemaphore(limits.MaxScrapes),
		records: make(map[string]*record),
	}
	s.file.Store(&file)
	s.metrics = newMetrics(s, registry)
	return s
}

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
	s.notify()
}

// Get returns the target called name, which need not exist or be a valid name.
func (s *Set) Get(name string) Target {
	t := Target{Name: name, Settings: s.file.Load().Target(name), set: s}
	s.mu.Lock()
	t.record = s.records[name]
	s.mu.Unlock()
	return t
}

// File returns the targets file in use.
func (s *Set) File() targetsfile.File { return *s.file.Load() }

// Recorded returns how many targets have a record.
func (s *Set) Recorded() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// InFlight returns how many scrapes are in flight.
func (s *Set) InFlight() int { return int(s.inFlight.Load()) }

// CloseIdle closes the idle connections to services.
func (s *Set) CloseIdle() { s.client.Retain(nil) }

// Changed returns a channel that has an element if a state may have changed.
func (s *Set) Changed() <-chan struct{} { return s.changed }

func (s *Set) notify() {
	select {
	case s.changed <- struct{}{}:
	default: // The last notification has not been received yet.
	}
}
