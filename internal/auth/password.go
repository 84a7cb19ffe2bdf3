package auth

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"tulpa.dev/cadey/aegis/internal/conn"
	"tulpa.dev/cadey/aegis/internal/limits"
)

// passwordVerifier verifies passwords and remembers the results. One verification takes a
// twentieth of a second of processor time, by design of bcrypt. So it runs once for the
// same credentials, once at a time for each source prefix, and not for clients that have
// guessed too often.
type passwordVerifier struct {
	log      *slog.Logger
	wrongLog limits.LogLimiter
	waiters  *limits.Semaphore // requests that wait for the verification of another

	mu             sync.Mutex
	pending        verifications
	pendingSources map[netip.Prefix]bool
	right, wrong   verifications // finished; apart, so that guesses evict no right passwords
	wrongCounts    wrongCounts
}

// verification is the verification of credentials for one or more requests.
type verification struct {
	source netip.Prefix  // of the first request
	done   chan struct{} // closed once err is set
	err    error         // nil, errWrongPassword or errTooManyPasswords
}

func newPasswordVerifier(log *slog.Logger) *passwordVerifier {
	return &passwordVerifier{
		log:            log,
		waiters:        limits.NewSemaphore(limits.MaxPasswordWaiters),
		pending:        make(verifications),
		pendingSources: make(map[netip.Prefix]bool),
		right:          make(verifications),
		wrong:          make(verifications),
		wrongCounts:    make(wrongCounts),
	}
}

// verify returns nil if r has the password of a user of f, else errWrongPassword or, at a
// limit, errTooManyPasswords.
func (p *passwordVerifier) verify(r *http.Request, f *File) error {
	user, password, ok := r.BasicAuth()
	if !ok {
		return errWrongPassword
	}
	key := newCredentials(user, password, string(f.config.Users[user]))
	v, first := p.join(key, conn.SourcePrefix(r.RemoteAddr))
	if v == nil {
		return errTooManyPasswords
	}
	if first {
		p.finish(key, v, compare(user, password, f))
	}
	err := p.wait(r.Context(), v)
	if err == errWrongPassword {
		if count, ok := p.wrongLog.Allow(); ok {
			p.log.Warn("wrong user or password", "user", user, "address", r.RemoteAddr, "count", count)
		}
	}
	return err
}

// join returns the verification of key, finished or not. If first is true, the caller has
// to compare the password and call finish. join returns nil if source is at a limit.
func (p *passwordVerifier) join(key credentials, source netip.Prefix) (v *verification, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range []verifications{p.right, p.wrong, p.pending} {
		if v := known[key]; v != nil {
			return v, false
		}
	}
	// With one verification for each source, it takes many sources to delay others.
	if p.pendingSources[source] || p.wrongCounts.atLimit(source) {
		return nil, false
	}
	v = &verification{source: source, done: make(chan struct{})}
	p.pending[key], p.pendingSources[source] = v, true
	return v, true
}

// compare returns nil if password is that of user, errWrongPassword if not, and
// errTooManyPasswords if no slot gets free in time. It goes on if the client hangs up:
// others may wait for the result.
func compare(user, password string, f *File) error {
	if !limits.Expensive.Acquire(context.Background(), limits.PasswordQueueTimeout) {
		return errTooManyPasswords
	}
	defer limits.Expensive.Release()
	hash, known := f.passwordHash(user)
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil || !known {
		return errWrongPassword
	}
	return nil
}

// passwordHash returns the password hash of user. For an unknown user it returns one of
// the highest cost instead, so that the time of a response does not tell which users
// there are.
func (f *File) passwordHash(user string) (hash string, known bool) {
	if hash, ok := f.config.Users[user]; ok {
		return string(hash), true
	}
	return f.costliestHash, false
}

// finish ends v, the verification of key, with err.
func (p *passwordVerifier) finish(key credentials, v *verification, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, key)
	delete(p.pendingSources, v.source)
	switch err {
	case nil:
		p.right.remember(key, v)
	case errWrongPassword:
		p.wrong.remember(key, v)
		p.wrongCounts.add(v.source)
	}
	v.err = err
	close(v.done)
}

// wait returns the result of v once it has one. At most MaxPasswordWaiters requests wait;
// others get errTooManyPasswords at once.
func (p *passwordVerifier) wait(ctx context.Context, v *verification) error {
	select {
	case <-v.done:
		return v.err
	default:
	}
	if !p.waiters.TryAcquire() {
		return errTooManyPasswords
	}
	defer p.waiters.Release()
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		return errTooManyPasswords // The client has hung up and does not see it.
	}
}
