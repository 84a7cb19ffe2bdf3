package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Manager is the service manager, to be told how the program is. Without one,
// that is without NOTIFY_SOCKET, telling does nothing. Telling never waits: a
// manager that does not read holds nothing up.
type Manager struct {
	failed func(error)
	queue  chan func() // each delivers a message; nil without a manager

	mu       sync.Mutex
	status   string // as last sent
	stopping bool
}

// queueLength is how many messages may wait for a manager that is slow to read.
const queueLength = 16

var errNotReading = errors.New("it does not read what it is told")

// NewManager returns the Manager of this process. Failures to reach it go to
// failed; the program can do no more about them.
func NewManager(failed func(error)) *Manager {
	m := &Manager{failed: failed}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		m.queue = make(chan func(), queueLength)
		go func() {
			for deliver := range m.queue {
				deliver()
			}
		}()
	}
	return m
}

func (m *Manager) deliver(message string) {
	if _, err := daemon.SdNotify(false, message); err != nil {
		m.failed(fmt.Errorf("telling the service manager: %w", err))
	}
}

// Flush waits until all that was told is delivered, or for most.
func (m *Manager) Flush(most time.Duration) {
	if m.queue == nil {
		return
	}
	delivered := make(chan struct{})
	late := time.After(most)
	select {
	case m.queue <- func() { close(delivered) }:
	case <-late:
		return
	}
	select {
	case <-delivered:
	case <-late:
	}
}

// Ready says that the program is ready, at first or again after Reloading.
func (m *Manager) Ready(status string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopping {
		m.send(status, daemon.SdNotifyReady)
	}
}

// Status shows one line in systemctl status. Nothing is sent if it is the line
// shown already, or after Stopping, whose line is the last.
func (m *Manager) Status(status string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if status != m.status && !m.stopping {
		m.send(status)
	}
}

// Reloading says that a reload has begun; Ready ends it. Type=notify-reload
// wants the time in the same message.
func (m *Manager) Reloading() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopping {
		m.send("", daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
	}
}

// Stopping says that the program ends, which may take as long as within.
func (m *Manager) Stopping(status string, within time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopping = true
	m.send(status, daemon.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

func (m *Manager) beat() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.send("", daemon.SdNotifyWatchdog)
}

// send queues a message of the fields and, where it is not empty, the status.
// It is called with m.mu held.
func (m *Manager) send(status string, fields ...string) {
	if m.queue == nil {
		return
	}
	if status != "" {
		fields = append(fields, "STATUS="+strings.ReplaceAll(status, "\n", " "))
	}
	var message strings.Builder
	for _, f := range fields {
		message.WriteString(strings.TrimSuffix(f, "\n") + "\n")
	}
	select {
	case m.queue <- func() { m.deliver(message.String()) }:
		if status != "" {
			m.status = status
		}
	default:
		m.failed(fmt.Errorf("telling the service manager: %w", errNotReading))
	}
}
