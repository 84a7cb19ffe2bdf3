package systemd

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// sendTimeout is how long sending a message may take. The kernel queues hundreds of messages, so
// sending blocks only if the service manager has not read any for a while.
const sendTimeout = time.Second

// Manager sends messages about the state of this process to the service manager. Without one (no
// NOTIFY_SOCKET), it does nothing.
type Manager struct {
	onError  func(error)
	mu       sync.Mutex // held while sending, to keep messages in order
	stopping bool
}

// NewManager returns the Manager of this process. It calls onError if a message cannot be sent;
// the caller can only log that.
func NewManager(onError func(error)) *Manager { return &Manager{onError: onError} }

// Ready reports that the program is ready, after its start or after Reloading.
func (m *Manager) Ready(status string) { m.notify(daemon.SdNotifyReady, statusField(status)) }

// Status sets the line that systemctl status shows.
func (m *Manager) Status(status string) { m.notify(statusField(status)) }

// Reloading reports that a reload has begun; Ready reports its end. Type=notify-reload requires
// the time in the same message.
func (m *Manager) Reloading() {
	m.notify(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// Stopping reports that the program is stopping, and requests timeout for that. Ready, Status and
// Reloading do nothing from then on.
func (m *Manager) Stopping(status string, timeout time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopping = true
	extend := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", timeout.Microseconds())
	m.send(daemon.SdNotifyStopping, extend, statusField(status))
}

func (m *Manager) notify(fields ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopping {
		m.send(fields...)
	}
}

func statusField(status string) string { return "STATUS=" + strings.ReplaceAll(status, "\n", " ") }

// send sends a message with fields. The library's function for this can block forever.
func (m *Manager) send(fields ...string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket)
	if err == nil {
		defer conn.Close()
		conn.SetWriteDeadline(time.Now().Add(sendTimeout))
		_, err = conn.Write([]byte(strings.Join(fields, "\n") + "\n"))
	}
	if err != nil {
		m.onError(fmt.Errorf("notifying the service manager: %w", err))
	}
}
