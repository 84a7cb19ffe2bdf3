package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// passwords knows which passwords are right. To find that out costs a twentieth of a
// second of a processor, by design of bcrypt: so it is done once for each, not for
// whoever was wrong too often, and for all others in turn.
type passwords struct {
	log    *slog.Logger
	logged limits.LogLimiter
	places chan struct{} // of those that are hashed; who waits for one gets it in turn
	joined atomic.Int32  // requests that wait for the try of another

	mu     sync.Mutex
	found  map[bool]map[credentials]bool // those that are right, and those that are not
	tries  map[credentials]*try
	trying map[netip.Prefix]bool // whose these are
	misses map[netip.Prefix]misses
}

// misses is how often somebody was wrong since a time.
type misses struct {
	since time.Time
	n     int
}

// credentials are a user, a password, and the hash that this has to fit.
type credentials [sha256.Size]byte

// try is the hashing of a password, which others that have the same wait for.
type try struct {
	from   netip.Prefix
	done   chan struct{}
	status int // as that of a request with it
}

func newPasswords(log *slog.Logger) *passwords {
	return &passwords{
		log: log, places: make(chan struct{}, limits.MaxConcurrentBcrypt),
		found: map[bool]map[credentials]bool{true: make(map[credentials]bool), false: make(map[credentials]bool)},
		tries: make(map[credentials]*try), trying: make(map[netip.Prefix]bool), misses: make(map[netip.Prefix]misses),
	}
}

// status is http.StatusOK if r has the password of a user of c, else what it is to be
// answered with.
func (p *passwords) status(r *http.Request, c exporterweb.Config) int {
	user, password, ok := r.BasicAuth()
	if !ok {
		return http.StatusUnauthorized
	}
	key := credentialsOf(user, password, string(c.Users[user]))
	t, first := p.begin(key, conn.SourcePrefix(r.RemoteAddr))
	if t == nil {
		return http.StatusTooManyRequests
	}
	if first {
		p.end(key, t, p.try(user, password, c))
	}
	status := p.await(r.Context(), t)
	if status == http.StatusUnauthorized {
		if n, due := p.logged.Allow(); due {
			p.log.Warn("a scraper has no right password", "user", user, "address", r.RemoteAddr, "refused", n)
		}
	}
	return status
}

// begin returns the try of key, whether it has ended, is under way, or is to be made by
// the caller, who is first then. It returns nil if that may not be.
func (p *passwords) begin(key credentials, from netip.Prefix) (t *try, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t = &try{from: from, done: make(chan struct{})}
	for right, found := range p.found {
		if found[key] {
			t.end(statusOf(right))
			return t, false
		}
	}
	if t := p.tries[key]; t != nil {
		return t, false
	}
	m := p.misses[from]
	// One for each address: so it takes many to make somebody wait for long.
	if p.trying[from] || m.n >= limits.MaxWrongPasswords && time.Since(m.since) < limits.WrongPasswordInterval {
		return nil, false
	}
	p.tries[key], p.trying[from] = t, true
	return t, true
}

// try finds out in turn whether password is that of user. It goes on for a scraper that
// hangs up: others may wait for the same.
func (p *passwords) try(user, password string, c exporterweb.Config) (status int) {
	select {
	case p.places <- struct{}{}:
	case <-time.After(limits.PasswordQueueTimeout):
		return http.StatusTooManyRequests
	}
	defer func() { <-p.places }()
	hash, known := hashOf(user, c)
	fits := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	return statusOf(fits && known)
}

// hashOf returns the hash that the password of user has to fit. For one whom there is not
// that is another's, of those that cost most, so that nobody learns by the time it takes
// whom there is.
func hashOf(user string, c exporterweb.Config) (hash string, known bool) {
	if hash, known := c.Users[user]; known {
		return string(hash), true
	}
	most := 0
	for _, of := range c.Users {
		if cost, err := bcrypt.Cost([]byte(of)); err == nil && cost > most {
			hash, most = string(of), cost
		}
	}
	return hash, false
}

// await returns how t ended, when it has. It waits only with so many others: over HTTP/2
// one scraper can have any number of requests with the same password.
func (p *passwords) await(ctx context.Context, t *try) (status int) {
	select {
	case <-t.done:
		return t.status
	default:
	}
	defer p.joined.Add(-1)
	if p.joined.Add(1) > limits.MaxPasswordWaiters {
		return http.StatusTooManyRequests
	}
	select {
	case <-t.done:
		return t.status
	case <-ctx.Done():
		return http.StatusTooManyRequests // Nobody sees it.
	}
}

func statusOf(right bool) int {
	if right {
		return http.StatusOK
	}
	return http.StatusUnauthorized
}

func (t *try) end(status int) {
	t.status = status
	close(t.done)
}

// end notes how the try of key ended.
func (p *passwords) end(key credentials, t *try, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tries, key)
	delete(p.trying, t.from)
	t.end(status)
	if status == http.StatusTooManyRequests {
		return // Nobody knows.
	}
	right := status == http.StatusOK
	if len(p.found[right]) >= limits.MaxCachedPasswords {
		clear(p.found[right]) // They are found out again.
	}
	p.found[right][key] = true
	if !right {
		p.miss(t.from)
	}
}

// miss counts a password that was wrong.
func (p *passwords) miss(from netip.Prefix) {
	for of, m := range p.misses {
		if time.Since(m.since) >= limits.WrongPasswordInterval {
			delete(p.misses, of)
		}
	}
	m, ok := p.misses[from]
	if !ok {
		m.since = time.Now()
	}
	m.n++
	p.misses[from] = m
}

func credentialsOf(user, password, hash string) credentials {
	var all []byte
	for _, part := range []string{user, password, hash} {
		all = binary.AppendUvarint(all, uint64(len(part)))
		all = append(all, part...)
	}
	return sha256.Sum256(all)
}
