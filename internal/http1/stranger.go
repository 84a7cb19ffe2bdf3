package http1

import (
	"errors"
	"net"
	"runtime"
	"sync"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// stranger bounds what a connection takes of Aegis without a request. TLS and HTTP/2
// keep as much as a peer announces, before anybody is asked for a password; and the
// beginning of TLS takes milliseconds of a processor. A nil *stranger bounds nothing.
type stranger struct {
	places *workPlaces

	mu       sync.Mutex
	left     int           // bytes that may come before the next request
	answered bool          // something was sent to it
	known    bool          // it has made a request
	place    chan struct{} // that is held
	closed   chan struct{}
	ended    bool
}

// workPlaces are those of the strangers that have the processor: one for who begins, and
// one for who was answered, as mostly there is little to do by then.
type workPlaces struct{ begins, answered chan struct{} }

func newWorkPlaces() *workPlaces {
	return &workPlaces{make(chan struct{}, 1), make(chan struct{}, 1)}
}

var errUnasked = errors.New("it sent too much without a request")

func newStranger(places *workPlaces) *stranger {
	return &stranger{places: places, closed: make(chan struct{}), left: limits.MaxPreRequestBytes}
}

// begins reports whether nothing was sent to it so far.
func (s *stranger) begins() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.answered && !s.known
}

// came notes that n bytes have come. Before the first request it waits for a place to
// work on them, until leave or end.
func (s *stranger) came(n int) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	s.left -= n
	left, known, place := s.left, s.known, s.places.begins
	if s.answered {
		place = s.places.answered
	}
	s.mu.Unlock()
	switch {
	case left < 0:
		return errUnasked
	case known:
		return nil
	}
	select {
	case place <- struct{}{}:
	case <-s.closed:
		return net.ErrClosed
	}
	// Who works does so without a pause. All others have their turn before: of these,
	// those that are to work next see that the place is taken.
	runtime.Gosched()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place = place
	if s.ended || s.known { // meanwhile
		s.giveBack()
	}
	if s.ended {
		return net.ErrClosed
	}
	return nil
}

// leave gives the place back, if there is one: nothing more is done until more comes.
func (s *stranger) leave() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack()
}

// answers notes that something is sent.
func (s *stranger) answers() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack()
	s.answered = true
}

func (s *stranger) giveBack() {
	if s.place != nil {
		<-s.place
		s.place = nil
	}
}

// sent notes that n bytes were sent: who takes much says now and then that more may
// come.
func (s *stranger) sent(n int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = min(s.left+n/limits.UnaskedPart, limits.MaxPreRequestBytes)
}

// asked notes a request.
func (s *stranger) asked() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack()
	s.left, s.known = limits.MaxPreRequestBytes, true
}

// end notes the end of the connection.
func (s *stranger) end() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack()
	if !s.ended {
		s.ended = true
		close(s.closed)
	}
}

// Requested notes that a request has come on c, a connection of Fair, or TLS over one:
// it may send more then.
func Requested(c net.Conn) {
	if f := fairOf(c); f != nil {
		f.stranger.asked()
	}
}
