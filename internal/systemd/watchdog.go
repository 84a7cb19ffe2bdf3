package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

var errNoAnswer = errors.New("no answer in time")

// Watchdog beats for the service manager, twice in each interval it asks for,
// until ctx ends; where it asks for none, it returns at once. A beat is given
// only if alive returns nil within half of the time between two; if it does
// not, the reason goes to failed and in the end the program is restarted. So
// alive must depend on nothing that a restart does not mend.
func (m *Manager) Watchdog(ctx context.Context, alive func() error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.failed(fmt.Errorf("reading the watchdog's interval: %w", err))
		return
	}
	if interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if err := within(interval/4, alive); err != nil {
			m.failed(fmt.Errorf("withholding a watchdog beat: %w", err))
		} else {
			m.beat()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// within returns what f returns, or errNoAnswer if that takes longer than d.
func within(d time.Duration, f func() error) error {
	answer := make(chan error, 1)
	go func() { answer <- f() }()
	select {
	case err := <-answer:
		return err
	case <-time.After(d):
		return errNoAnswer
	}
}
