package main

import (
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/web"
)

// passwords knows which passwords are right. To find that out costs a twentieth of a
// second of a processor, by design of bcrypt: so it is done once for each, and not for
// whoever was wrong too often.
type passwords struct {
	log    *slog.Logger
	logged web.Seldom

	mu     sync.Mutex
	found  map[bool]map[credentials]bool // those that are right, and those that are not
	tries  map[credentials]*try
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
	from  netip.Prefix
	done  chan struct{}
	right bool
}

func newPasswords(log *slog.Logger) *passwords {
	return &passwords{
		log:   log,
		found: map[bool]map[credentials]bool{true: make(map[credentials]bool), false: make(map[credentials]bool)},
		tries: make(map[credentials]*try), misses: make(map[netip.Prefix]misses),
	}
}

// someHash stands for that of a user whom there is not, so that nobody learns that by
// the time it takes.
const someHash = "$2a$10$K8AdU7BqFBtR5GvL5bl70uD8sJfVaX3ln3a0cj6idhQZyUbcPreay"

// status is http.StatusOK if r has the password of a user of c, else what it is to be
// answered with.
func (p *passwords) status(r *http.Request, c exporterweb.Config) int {
	user, password, ok := r.BasicAuth()
	if !ok {
		return http.StatusUnauthorized
	}
	hash, known := c.Users[user]
	if !known {
		hash = someHash
	}
	key := credentialsOf(user, password, string(hash))
	t, first := p.begin(key, neighbourhood(r.RemoteAddr))
	switch {
	case t == nil:
		return http.StatusTooManyRequests
	case first:
		p.end(key, t, known && bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil)
	default:
		select {
		case <-t.done:
		case <-r.Context().Done():
			return http.StatusUnauthorized // Nobody sees it.
		}
	}
	if t.right {
		return http.StatusOK
	}
	if n, due := p.logged.Count(); due {
		p.log.Warn("a scraper has no right password", "user", user, "address", r.RemoteAddr, "refused", n)
	}
	return http.StatusUnauthorized
}

// begin returns the try of key, whether it has ended, is under way, or is to be made by
// the caller, who is first then. It returns nil if that may not be.
func (p *passwords) begin(key credentials, from netip.Prefix) (t *try, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for right, found := range p.found {
		if found[key] {
			return ended(right), false
		}
	}
	if t := p.tries[key]; t != nil {
		return t, false
	}
	m := p.misses[from]
	if len(p.tries) >= limits.PasswordTries || m.n >= limits.PasswordMisses && time.Since(m.since) < limits.PasswordPause {
		return nil, false
	}
	for _, other := range p.tries {
		if other.from == from {
			return nil, false
		}
	}
	t = &try{from: from, done: make(chan struct{})}
	p.tries[key] = t
	return t, true
}

func ended(right bool) *try {
	t := &try{done: make(chan struct{}), right: right}
	close(t.done)
	return t
}

// end notes how the try of key ended.
func (p *passwords) end(key credentials, t *try, right bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tries, key)
	t.right = right
	close(t.done)
	if len(p.found[right]) >= limits.Passwords {
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
		if time.Since(m.since) >= limits.PasswordPause {
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

// neighbourhood is whose address that is: of IPv6, one has many.
func neighbourhood(remote string) netip.Prefix {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if addr.Addr().Unmap().Is6() {
		bits = 64
	}
	prefix, _ := addr.Addr().Unmap().WithZone("").Prefix(bits)
	return prefix
}
