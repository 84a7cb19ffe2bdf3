package systemd

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// manage makes this process one that a service manager watches, and returns
// the manager's end.
func manage(t *testing.T) *net.UnixConn {
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

// told returns the next message, "" if none comes.
func told(t *testing.T, c *net.UnixConn, within time.Duration) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func TestMessages(t *testing.T) {
	c := manage(t)
	m := NewManager(func(err error) { t.Error(err) })
	for _, tt := range []struct {
		name string
		tell func()
		want string // a prefix; "" for no message
	}{
		{"ready", func() { m.Ready("serving") }, "READY=1\nSTATUS=serving\n"},
		{"the same status", func() { m.Status("serving") }, ""},
		{"another status", func() { m.Status("two\nlines") }, "STATUS=two lines\n"},
		{"reloading", m.Reloading, "RELOADING=1\nMONOTONIC_USEC="},
		{"ready again", func() { m.Ready("reloaded") }, "READY=1\nSTATUS=reloaded\n"},
		{"stopping", func() { m.Stopping("bye", 2*time.Second) }, "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\nSTATUS=bye\n"},
		{"a status after stopping", func() { m.Status("fine") }, ""},
	} {
		tt.tell()
		wait := 5 * time.Second
		if tt.want == "" {
			wait = 20 * time.Millisecond
		}
		got := told(t, c, wait)
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
	m.Watchdog(t.Context(), func() error { t.Error("asked if alive"); return nil })
}

func TestManagerOutOfReach(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "absent"))
	failures := make(chan error, 1)
	m := NewManager(func(err error) { failures <- err })
	m.Ready("serving")
	select {
	case <-failures:
	case <-time.After(5 * time.Second):
		t.Error("no failure reported")
	}
}

// A manager that does not read must not hold the program up, least of all when
// it is to stop.
func TestManagerThatDoesNotRead(t *testing.T) {
	c := manage(t)
	var failures atomic.Int64
	m := NewManager(func(error) { failures.Add(1) })
	told := make(chan struct{})
	go func() {
		// More than a socket's queue and ours hold.
		for i := range 2000 {
			m.Status(strings.Repeat("x", i))
		}
		m.Stopping("bye", time.Second)
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(5 * time.Second):
		t.Fatal("telling waits for the manager")
	}
	if failures.Load() == 0 {
		t.Error("nobody was told that messages are lost")
	}
	m.Flush(10 * time.Millisecond) // as at the end of the program
	// Now it reads, so that nothing is left for the next test's manager.
	go io.Copy(io.Discard, c)
	m.Flush(5 * time.Second)
}

func TestWatchdog(t *testing.T) {
	for _, tt := range []struct {
		name  string
		alive func() error
		beats bool
		why   string
	}{
		{"alive", func() error { return nil }, true, ""},
		{"dead", func() error { return errors.New("lock held") }, false, "lock held"},
		{"hanging", func() error { select {} }, false, "no answer in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := manage(t)
			t.Setenv("WATCHDOG_USEC", "40000")
			t.Setenv("WATCHDOG_PID", "")
			var why atomic.Value
			m := NewManager(func(err error) { why.Store(err.Error()) })
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { m.Watchdog(ctx, tt.alive); close(ended) }()
			for range 2 {
				want := ""
				if tt.beats {
					want = "WATCHDOG=1\n"
				}
				wait := 5 * time.Second
				if !tt.beats {
					wait = 50 * time.Millisecond
				}
				if got := told(t, c, wait); got != want {
					t.Errorf("told %q, want %q", got, want)
				}
			}
			cancel()
			<-ended
			if got, _ := why.Load().(string); !strings.Contains(got, tt.why) {
				t.Errorf("reported %q, want %q", got, tt.why)
			}
		})
	}
}
