package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"
)

// serviceManager receives the messages of sd_notify(3).
type serviceManager struct{ *net.UnixConn }

func newServiceManager(t *testing.T) serviceManager {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return serviceManager{c}
}

// start starts aegis as a service of m.
func (m serviceManager) start(t *testing.T, args ...string) *program {
	t.Helper()
	env := []string{"NOTIFY_SOCKET=" + m.LocalAddr().String(), "WATCHDOG_USEC=200000", "aegis"}
	return start(t, "env", append(env, args...)...)
}

// await waits for messages whose beginnings match patterns, in any order.
func (m serviceManager) await(t *testing.T, patterns ...string) {
	t.Helper()
	m.SetReadDeadline(time.Now().Add(time.Minute))
	var received []string
	for buf := make([]byte, 4096); len(patterns) > 0; {
		n, err := m.Read(buf)
		if err != nil {
			t.Fatalf("%v; got %q, want %q", err, received, patterns)
		}
		received = append(received, string(buf[:n]))
		patterns = slices.DeleteFunc(patterns, func(pattern string) bool {
			return regexp.MustCompile("^" + pattern).Match(buf[:n])
		})
	}
}

// The service manager learns when aegis is ready, reloads and stops, how the targets do,
// and that the process is alive.
func TestServiceManagerMessages(t *testing.T) {
	t.Parallel()
	m := newServiceManager(t)
	dir := t.TempDir()
	p := m.start(t, "-hostport", "127.0.0.1:0", "-sockdir", dir)
	m.await(t, "READY=1\nSTATUS=")
	m.await(t, "STATUS=0 sockets in "+dir+"; 0 fine\n")
	m.await(t, "WATCHDOG=1\n")
	p.cmd.Process.Signal(syscall.SIGHUP)
	m.await(t, "RELOADING=1\nMONOTONIC_USEC=")
	m.await(t, "READY=1\nSTATUS=reloaded\n")
	os.RemoveAll(dir)
	p.cmd.Process.Signal(syscall.SIGHUP)
	m.await(t, "READY=1\nSTATUS=reload failed, keeping the list of targets: .*"+dir)
	// However many SIGHUPs come, they do not push out the SIGTERM after them.
	for range 50 {
		p.cmd.Process.Signal(syscall.SIGHUP)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	m.await(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=")
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// SIGTERM and SIGINT end the program with exit code 0.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p, _ := startAegis(t, t.TempDir())
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want exit code 0", sig, err)
		}
	}
}
