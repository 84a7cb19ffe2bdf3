package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// passwordVerifier verifies passwords and remembers the results. One verification takes a twentieth of a
// second of processor time, by design of bcrypt. So it runs once for the same credentials, once at a time
// for each source prefix, and not for sources that have guessed too often.
type passwordVerifier struct {
	log                  *slog.Logger
	missingLog, wrongLog limits.LogLimiter

	mu             sync.Mutex
	pending        verifications
	pendingSources map[netip.Prefix]bool
	right, wrong   verifications                  // finished; apart, so that guesses evict no right passwords
	guesses        map[netip.Prefix]*rate.Limiter // wrong passwords by source prefix
}

// verification is the verification of credentials for one or more requests.
type verification struct {
	done chan struct{} // closed once err is set
	err  error         // nil, errWrongPassword or errTooManyPasswords
}

// credentials identify a user, a password, and the hash that this was compared with.
type credentials [sha256.Size]byte

// newCredentials returns a hash of its arguments. Only password can contain a colon (RFC 7617), so different
// arguments have different hashes.
func newCredentials(user, password, hash string) credentials {
	return sha256.Sum256([]byte(user + ":" + hash + ":" + password))
}

type verifications map[credentials]*verification

// remember adds v. At MaxCachedPasswords it forgets the others, which are verified again when needed.
func (vs verifications) remember(key credentials, v *verification) {
	if len(vs) >= limits.MaxCachedPasswords {
		clear(vs)
	}
	vs[key] = v
}

func newPasswordVerifier(log *slog.Logger) *passwordVerifier {
	return &passwordVerifier{
		log:            log,
		pending:        make(verifications),
		pendingSources: make(map[netip.Prefix]bool),
		right:          make(verifications),
		wrong:          make(verifications),
		guesses:        make(map[netip.Prefix]*rate.Limiter),
	}
}

// verify returns nil if r has the password of a user of f, else errWrongPassword or, at a limit,
// errTooManyPasswords.
func (p *passwordVerifier) verify(r *http.Request, f *File) error {
	user, password, ok := r.BasicAuth()
	if !ok {
		if count, ok := p.missingLog.Allow(); ok {
			p.log.Warn("request without a user and password", "address", r.RemoteAddr, "count", count)
		}
		return errWrongPassword
	}
	key := newCredentials(user, password, string(f.config.Users[user]))
	source := conn.SourcePrefix(r.RemoteAddr)
	v, first := p.join(key, source)
	switch {
	case v == nil:
		return errTooManyPasswords
	case first:
		v.err = compare(user, password, f)
		p.finish(key, source, v)
	default:
		select {
		case <-v.done:
		case <-r.Context().Done():
			return errTooManyPasswords // The client has hung up and does not see it.
		}
	}
	if v.err == errWrongPassword {
		if count, ok := p.wrongLog.Allow(); ok {
			p.log.Warn("wrong user or password", "user", user, "address", r.RemoteAddr, "count", count)
		}
	}
	return v.err
}

// join returns the verification of key, finished or not. If first is true, the caller has to compare the
// password and call finish. join returns nil if source is at a limit.
func (p *passwordVerifier) join(key credentials, source netip.Prefix) (v *verification, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range []verifications{p.right, p.wrong, p.pending} {
		if v := known[key]; v != nil {
			return v, false
		}
	}
	guesses := p.guesses[source]
	// With one verification for each source, it takes many sources to delay others.
	if p.pendingSources[source] || guesses != nil && guesses.Tokens() < 1 {
		return nil, false
	}
	v = &verification{done: make(chan struct{})}
	p.pending[key], p.pendingSources[source] = v, true
	return v, true
}

// compare returns nil if password is that of user, errWrongPassword if not, and errTooManyPasswords if no
// slot gets free in time. It goes on if the client hangs up: others may wait for the result.
func compare(user, password string, f *File) error {
	if !limits.Authentication.Acquire(context.Background(), limits.PasswordQueueTimeout) {
		return errTooManyPasswords
	}
	defer limits.Authentication.Release()
	secret, known := f.config.Users[user]
	hash := []byte(secret)
	if !known {
		hash = f.costliestHash // The time of a response must not tell which users there are.
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !known {
		return errWrongPassword
	}
	return nil
}

// finish ends v, the verification of key for source.
func (p *passwordVerifier) finish(key credentials, source netip.Prefix, v *verification) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, key)
	delete(p.pendingSources, source)
	switch v.err {
	case nil:
		p.right.remember(key, v)
	case errWrongPassword:
		p.wrong.remember(key, v)
		p.countGuess(source)
	}
	close(v.done)
}

// countGuess counts a wrong password of source, and forgets sources that may send MaxWrongPasswords again.
func (p *passwordVerifier) countGuess(source netip.Prefix) {
	maps.DeleteFunc(p.guesses, func(_ netip.Prefix, l *rate.Limiter) bool {
		return l.Tokens() >= limits.MaxWrongPasswords
	})
	if p.guesses[source] == nil {
		p.guesses[source] = rate.NewLimiter(
			rate.Every(limits.WrongPasswordInterval/limits.MaxWrongPasswords), limits.MaxWrongPasswords)
	}
	p.guesses[source].Allow()
}
