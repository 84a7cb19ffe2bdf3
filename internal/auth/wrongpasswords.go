package auth

import (
	"net/netip"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// wrongCounts counts wrong passwords by source prefix.
type wrongCounts map[netip.Prefix]wrongCount

type wrongCount struct {
	since time.Time
	n     int
}

// expired reports whether the count has to begin again.
func (c wrongCount) expired() bool { return time.Since(c.since) >= limits.WrongPasswordInterval }

// atLimit reports whether source has sent MaxWrongPasswords wrong passwords in
// WrongPasswordInterval.
func (w wrongCounts) atLimit(source netip.Prefix) bool {
	c := w[source]
	return c.n >= limits.MaxWrongPasswords && !c.expired()
}

// add counts a wrong password of source, and forgets expired counts.
func (w wrongCounts) add(source netip.Prefix) {
	for other, c := range w {
		if c.expired() {
			delete(w, other)
		}
	}
	c, ok := w[source]
	if !ok {
		c.since = time.Now()
	}
	c.n++
	w[source] = c
}
