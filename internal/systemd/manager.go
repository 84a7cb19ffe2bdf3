package systemd

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Manager is the service manager, to be told how the program is. Without one,
// that is without NOTIFY_SOCKET, telling does nothing.
type Manager struct {
	failed func(error)

	mu       sync.Mutex
	status   string // as last sent
	stopping bool
}

// NewManager returns the Manager of this process. Failures to reach it go to
// failed; the program can do no more about them.
func NewManager(failed func(error)) *Manager { return &Manager{failed: failed} }

// Ready says that the program is ready, at first or again after Reloading.
func (m *Manager) Ready(status string) { m.send(status, daemon.SdNotifyReady) }

// Status shows one line in systemctl status. Nothing is sent if it is the line
// shown already, or after Stopping, whose line is the last.
func (m *Manager) Status(status string) {
	m.mu.Lock()
	send := status != m.status && !m.stopping
	m.mu.Unlock()
	if send {
		m.send(status)
	}
}

// Reloading says that a reload has begun; Ready ends it. Type=notify-reload
// wants the time in the same message.
func (m *Manager) Reloading() {
	m.send("", daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the program ends, which may take as long as within.
func (m *Manager) Stopping(status string, within time.Duration) {
	m.mu.Lock()
	m.stopping = true
	m.mu.Unlock()
	m.send(status, daemon.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// send sends a message of the fields and, where it is not empty, the status.
func (m *Manager) send(status string, fields ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if status != "" {
		m.status = status
		fields = append(fields, "STATUS="+strings.ReplaceAll(status, "\n", " "))
	}
	var message strings.Builder
	for _, f := range fields {
		message.WriteString(strings.TrimSuffix(f, "\n") + "\n")
	}
	if _, err := daemon.SdNotify(false, message.String()); err != nil {
		m.failed(fmt.Errorf("telling the service manager: %w", err))
	}
}
