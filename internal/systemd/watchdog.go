package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watchdog resets the service manager's watchdog twice in each of its intervals, until ctx is
// done. Without a watchdog (WatchdogSec= in the unit), it returns immediately.
//
// Before each reset it calls check. If check fails, or runs for longer than a quarter of the
// interval, Watchdog reports that to onError and skips the reset; in the end the service manager
// restarts the program. So check must fail only if a restart helps.
func (m *Manager) Watchdog(ctx context.Context, check func() error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.onError(fmt.Errorf("reading the watchdog interval: %w", err))
		return
	}
	if interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if err := runWithTimeout(interval/4, check); err != nil {
			m.onError(fmt.Errorf("skipping a watchdog reset: %w", err))
		} else {
			m.send(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// runWithTimeout returns the error of f, or an error if f has not returned after timeout; f then
// keeps running.
func runWithTimeout(timeout time.Duration, f func() error) error {
	result := make(chan error, 1)
	go func() { result <- f() }()
	select {
	case err := <-result:
		return err
	case <-time.After(timeout):
		return errors.New("the health check did not return in time")
	}
}
