package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The steps of TestSystemd about failures and hardening.

func (m *machine) kill(t *testing.T) {
	l := startLoad(t, systemdAddr, 4, m.paths()...)
	pid := mainPID(t)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	waitFor(t, "another process", func() bool {
		now := mainPID(t)
		return now != 0 && now != pid && property(t, "ActiveState") == "active"
	})
	took := time.Since(start)
	scrapeBody(t, "/alpha")
	t.Logf("kill -9 under load: back after %v; %s", took.Round(time.Millisecond), l.finish())
	if took > 5*time.Second {
		t.Errorf("back after %v, want within seconds", took)
	}
	if n := l.refused.Load(); n != 0 {
		t.Errorf("%d connections refused", n)
	}
}

// network tries to connect from the service's network namespace.
func (m *machine) network(t *testing.T) {
	errs := make(chan error)
	go func() {
		// The thread is in the other namespace then, so it is not unlocked, and ends.
		runtime.LockOSThread()
		errs <- func() error {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", mainPID(t)))
			if err != nil {
				t.Error(err)
				return nil
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				t.Error(err)
				return nil
			}
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Connect(fd, &unix.SockaddrInet6{Port: 31337, Addr: [16]byte{15: 1}})
		}()
	}()
	err := <-errs
	t.Logf("connecting from the service's network: %v", err)
	if err == nil {
		t.Error("the service can reach the network")
	}
	scrapeBody(t, "/alpha")
}

func (m *machine) watchdog(t *testing.T) {
	l := startLoad(t, systemdAddr, 4, m.paths()...)
	pid := mainPID(t)
	start := time.Now()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the watchdog to restart it", func() bool {
		now := mainPID(t)
		return now != 0 && now != pid && property(t, "ActiveState") == "active"
	})
	scrapeBody(t, "/alpha")
	t.Logf("kill -STOP: restarted by the watchdog after %v; %s", time.Since(start).Round(time.Millisecond), l.finish())
	if n := l.refused.Load(); n != 0 {
		t.Errorf("%d connections refused", n)
	}
}

func (m *machine) security(t *testing.T) {
	units, err := filepath.Glob("/etc/systemd/system/aegis*")
	if err != nil || len(units) != 4 {
		t.Fatalf("the units: %v, %v", units, err)
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	t.Logf("systemd-analyze verify: %v, %q", err, out)
	if err != nil || len(out) > 0 {
		t.Error("systemd-analyze verify complains")
	}
	out, err = exec.Command("systemd-analyze", "security", "--no-pager", "aegis.service").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, overall, _ := strings.Cut(string(out), "Overall exposure level for aegis.service: ")
	overall, _, _ = strings.Cut(overall, " ")
	t.Logf("systemd-analyze security: %s", overall)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "✗") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if level, err := strconv.ParseFloat(overall, 64); err != nil || level > 0.2 {
		t.Errorf("exposure level %q, want at most 0.2", overall)
	}
}
