package systemd

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listenNotify gives this process a notification socket, and returns the service
// manager's end of it.
func listenNotify(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return c
}

// nextMessage returns the next message, or "" if none arrives within timeout.
func nextMessage(t *testing.T, c *net.UnixConn, timeout time.Duration) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(timeout))
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func TestMessages(t *testing.T) {
	c := listenNotify(t)
	m := NewManager(func(err error) { t.Error(err) })
	for _, tt := range []struct {
		name string
		call func()
		want string // prefix of the message; "" if none is sent
	}{
		{"ready", func() { m.Ready("serving") }, "READY=1\nSTATUS=serving\n"},
		{"another status", func() { m.Status("two\nlines") }, "STATUS=two lines\n"},
		{"reloading", m.Reloading, "RELOADING=1\nMONOTONIC_USEC="},
		{"ready again", func() { m.Ready("reloaded") }, "READY=1\nSTATUS=reloaded\n"},
		{"stopping", func() { m.Stopping("bye", 2*time.Second) }, "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\nSTATUS=bye\n"},
		{"a status after stopping", func() { m.Status("fine") }, ""},
	} {
		tt.call()
		wait := 5 * time.Second
		if tt.want == "" {
			wait = 20 * time.Millisecond
		}
		got := nextMessage(t, c, wait)
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestNoManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	m := NewManager(func(err error) { t.Error(err) })
	m.Ready("serving")
	m.Reloading()
	m.Stopping("bye", time.Second)
	m.Watchdog(t.Context(), func() error { t.Error("the watchdog is running"); return nil })
}

func TestUnreachableManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "absent"))
	reported := make(chan error, 1)
	m := NewManager(func(err error) { reported <- err })
	m.Ready("serving")
	select {
	case <-reported:
	case <-time.After(5 * time.Second):
		t.Error("no error reported")
	}
}

// A service manager that does not read must not block the program, above all not while it stops.
func TestManagerDoesNotRead(t *testing.T) {
	listenNotify(t)
	var errorCount atomic.Int64
	m := NewManager(func(error) { errorCount.Add(1) })
	sent := make(chan struct{})
	go func() {
		for errorCount.Load() == 0 { // until the kernel's queue is full
			m.Status("serving")
		}
		m.Stopping("bye", time.Second)
		close(sent)
	}()
	select {
	case <-sent:
	case <-time.After(30 * time.Second):
		t.Fatal("sending blocks until the service manager reads")
	}
	if n := errorCount.Load(); n != 2 {
		t.Errorf("%d errors were reported, want one for each of the two lost messages", n)
	}
}

func TestWatchdog(t *testing.T) {
	for _, tt := range []struct {
		name      string
		check     func() error
		keepAlive bool
		wantError string
	}{
		{"healthy", func() error { return nil }, true, ""},
		{"failing", func() error { return errors.New("lock held") }, false, "lock held"},
		{"hanging", func() error { select {} }, false, "the health check did not return in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := listenNotify(t)
			t.Setenv("WATCHDOG_USEC", "40000")
			t.Setenv("WATCHDOG_PID", "")
			var reported atomic.Value
			m := NewManager(func(err error) { reported.Store(err.Error()) })
			ctx, cancel := context.WithCancel(t.Context())
			returned := make(chan struct{})
			go func() { m.Watchdog(ctx, tt.check); close(returned) }()
			for range 2 {
				want := ""
				if tt.keepAlive {
					want = "WATCHDOG=1\n"
				}
				wait := 5 * time.Second
				if !tt.keepAlive {
					wait = 50 * time.Millisecond
				}
				if got := nextMessage(t, c, wait); got != want {
					t.Errorf("message %q, want %q", got, want)
				}
			}
			cancel()
			<-returned
			if got, _ := reported.Load().(string); !strings.Contains(got, tt.wantError) {
				t.Errorf("reported %q, want %q", got, tt.wantError)
			}
		})
	}
}
