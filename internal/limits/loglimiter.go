package limits

import (
	"sync"
	"time"
)

// LogLimiter limits log lines about events that clients can cause as often as they
// like to one in LimitLogInterval. The zero value is ready for use.
type LogLimiter struct {
	mu       sync.Mutex
	loggedAt time.Time
	count    int // events since the last line
}

// Allow counts an event and reports whether to log it now. If so, count is the number
// of events since the last line, this one included.
func (l *LogLimiter) Allow() (count int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	now := time.Now()
	if now.Sub(l.loggedAt) < LimitLogInterval {
		return 0, false
	}
	count, l.loggedAt, l.count = l.count, now, 0
	return count, true
}
