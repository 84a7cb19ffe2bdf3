package server

import (
	"context"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Drain stops accepting and ends every connection, without losing a request if it can. It returns how many
// requests it had to cut off, after limits.DrainTimeout.
//
// Closing a kept connection just when its next request arrives loses that request. So for
// limits.DrainIdleTimeout each response tells its client that the connection ends. Only then are idle
// connections closed unasked, and the others once their request is served.
func (s *Server) Drain() (cut int) {
	s.stopAccepting()
	allClosed := func() bool { return s.table.len() == 0 }
	waitUntil(limits.DrainIdleTimeout, allClosed)
	if s.fast != nil {
		s.fast.Shutdown()
		for _, c := range s.table.all() {
			c.Interrupt()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go s.slow.Shutdown(ctx)
	waitUntil(limits.DrainTimeout, func() bool { return s.Requests() == 0 })
	waitUntil(limits.DrainFlushTimeout, allClosed)
	cut = s.Requests() // One may have come while there was none.
	s.Close()
	return cut
}

// Close closes all listeners and connections. Requests in flight end as if their clients had hung up.
func (s *Server) Close() {
	s.stopAccepting()
	for _, c := range s.table.all() {
		c.CloseNow()
	}
}

func (s *Server) stopAccepting() {
	s.draining.Store(true)
	s.closeListeners()
	s.accepting.Wait()
}

func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		l.Close()
	}
}

// waitUntil waits until done returns true, for timeout at most.
func waitUntil(timeout time.Duration, done func() bool) {
	for end := time.Now().Add(timeout); !done() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}
