package web

import (
	"sync"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Seldom is for lines of the log about what scrapers can make happen as often as
// they like: one in limits.RefusalLogInterval.
type Seldom struct {
	mu       sync.Mutex
	loggedAt time.Time
	unlogged int
}

// Count counts one more. If a line is due, it returns how many there were since the
// last.
func (s *Seldom) Count() (n int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlogged++
	now := time.Now()
	if now.Sub(s.loggedAt) < limits.RefusalLogInterval {
		return 0, false
	}
	n, s.loggedAt, s.unlogged = s.unlogged, now, 0
	return n, true
}
