package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSystemd is the end-to-end test under a real systemd as pid 1, with the
// units of nix/systemd as they are. .ci/systemd boots a container for it; it
// restarts services and is not for a machine in use.
func TestSystemd(t *testing.T) {
	if os.Getenv("AEGIS_TEST_SYSTEMD") == "" {
		t.Skip("runs in the container that .ci/systemd boots")
	}
	m := newMachine(t)
	// Each needs the one before.
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"activation", m.activation},
		{"status", m.status},
		{"everything else", m.everythingElse},
		{"an answer that nobody takes", m.answerNotTaken},
		{"restarts", m.restarts},
		{"reloads", m.reloads},
		{"kill", m.kill},
		{"network", m.network},
		{"watchdog", m.watchdog},
		{"security", m.security},
	} {
		if !t.Run(step.name, step.run) {
			journal, _ := exec.Command("journalctl", "-u", "aegis.service", "-u", "aegis.socket", "-n", "60", "--no-pager").CombinedOutput()
			t.Fatalf("%s failed; the journal:\n%s", step.name, journal)
		}
	}
}

const (
	systemdAddr = "[::1]:31337"
	systemdDir  = "/srv/within/run"
)

var systemdServices = []string{"alpha", "beta@1", "gamma"}

// machine is the container, with three services.
type machine struct {
	t        *testing.T
	group    int
	services map[string]*http.Server
}

func newMachine(t *testing.T) *machine {
	g, err := user.LookupGroup("within")
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(systemdDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(systemdDir, 0, gid); err != nil {
		t.Fatal(err)
	}
	os.Chmod(systemdDir, 0o770)
	m := &machine{t, gid, map[string]*http.Server{}}
	for _, name := range systemdServices {
		m.serve(t, name)
	}
	return m
}

// serve starts a service on name.sock that belongs to group within.
func (m *machine) serve(t *testing.T, name string) {
	t.Helper()
	body := sampleBody("/" + name)
	m.serveWith(t, name, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
}

func (m *machine) serveWith(t *testing.T, name string, h http.HandlerFunc) {
	t.Helper()
	path := filepath.Join(systemdDir, name+".sock")
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	os.Chown(path, 0, m.group)
	os.Chmod(path, 0o660)
	m.services[name] = &http.Server{Handler: h}
	go m.services[name].Serve(l)
}

func (m *machine) activation(t *testing.T) {
	systemctl(t, "start", "aegis.socket")
	if got := property(t, "ActiveState"); got != "inactive" {
		t.Fatalf("with the socket unit alone, the service is %s", got)
	}
	for _, name := range systemdServices {
		if body := scrapeBody(t, "/"+name); body != sampleBody("/"+name) {
			t.Errorf("%s: %q", name, body)
		}
	}
	if got := property(t, "ActiveState"); got != "active" {
		t.Errorf("after the first scrape, the service is %s", got)
	}
}

func (m *machine) status(t *testing.T) {
	await := func(want string) {
		t.Helper()
		waitSystemd(t, "the status "+want, func() bool { return property(t, "StatusText") == want })
	}
	await("3 sockets in /srv/within/run; 3 fine")
	m.services["gamma"].Close()
	http.Get("http://" + systemdAddr + "/gamma")
	await("3 sockets in /srv/within/run; 2 fine; gamma: connection refused")
	status, _ := exec.Command("systemctl", "status", "--no-pager", "-n", "0", "aegis.service").CombinedOutput()
	t.Logf("\n%s", status)
	m.serve(t, "gamma")
	scrapeBody(t, "/gamma")
	await("3 sockets in /srv/within/run; 3 fine")

	locked := filepath.Join(systemdDir, "alpha.sock")
	os.Chown(locked, 4711, 4712)
	resp, err := http.Get("http://" + systemdAddr + "/alpha")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	t.Logf("denied: %d %s", resp.StatusCode, body)
	if resp.StatusCode != 502 || !strings.Contains(string(body), "hidden by Aegis' user namespace") || !strings.Contains(string(body), "mode 0660") {
		t.Errorf("a socket of another group: %d %s", resp.StatusCode, body)
	}
	os.Chown(locked, 0, m.group)
	scrapeBody(t, "/alpha")
}

// everythingElse asks for what the hardening might not let Aegis do: bodies that
// go through splice(2), its own metrics from /proc, and the other pages.
func (m *machine) everythingElse(t *testing.T) {
	body := strings.Repeat("abcdefg 1\n", 500_000)
	for name, length := range map[string]bool{"large": true, "stream": false} {
		m.serveWith(t, name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			if length {
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			}
			io.WriteString(w, body)
		})
		if got := scrapeBody(t, "/"+name); got != body {
			t.Errorf("%s: %d bytes of %d", name, len(got), len(body))
		}
		m.services[name].Close()
		os.Remove(filepath.Join(systemdDir, name+".sock"))
	}
	for path, want := range map[string]string{
		"/metrics": "process_resident_memory_bytes", "/": "3 sockets in " + systemdDir, "/-/sd": `"job":"beta@1"`, "/-/ready": "up",
	} {
		if got := scrapeBody(t, path); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q:\n%s", path, want, got)
		}
	}
}

// answerNotTaken asks for more than who asks has room for, and does not read: that
// the kernel holds what is left is noticed also in the service unit, with the few
// system calls that it allows.
func (m *machine) answerNotTaken(t *testing.T) {
	body := strings.Repeat("abcdefg 1\n", 4_000)
	m.serveWith(t, "some", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, body)
	})
	tight := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048) })
	}}
	c, err := tight.Dial("tcp", systemdAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET /some HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n")
	waitSystemd(t, "a reset of the connection", func() (reset bool) {
		raw.Control(func(fd uintptr) {
			errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
			reset = err == nil && errno == int(unix.ECONNRESET)
		})
		return reset
	})
	m.services["some"].Close()
	os.Remove(filepath.Join(systemdDir, "some.sock"))
}

// restarts restarts the service more often than systemd's default start limit
// allows.
func (m *machine) restarts(t *testing.T) {
	l := startLoad(t, systemdAddr, 16, m.paths()...)
	for range 20 {
		systemctl(t, "restart", "aegis.service")
		l.more(t, 1000)
	}
	t.Logf("20 restarts under load: %s", l.finish())
	m.nothingFailed(t, l)
}

// reloads also looks at what the service holds before and after.
func (m *machine) reloads(t *testing.T) {
	warm := startLoad(t, systemdAddr, 16, m.paths()...)
	warm.more(t, 10_000)
	warm.finish()
	before := m.holds(t)
	l := startLoad(t, systemdAddr, 16, m.paths()...)
	for range 20 {
		systemctl(t, "reload", "aegis.service")
		l.more(t, 1000)
	}
	t.Logf("20 reloads under load: %s", l.finish())
	m.nothingFailed(t, l)
	waitSystemd(t, "descriptors to be where they were", func() bool { return m.holds(t).descriptors <= before.descriptors })
	after := m.holds(t)
	t.Logf("before: %v; after: %v", before, after)
	if after.resident > before.resident+8<<20 {
		t.Errorf("memory grew by %d KiB", (after.resident-before.resident)>>10)
	}
}

func (m *machine) kill(t *testing.T) {
	l := startLoad(t, systemdAddr, 4, m.paths()...)
	pid := mainPID(t)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	waitSystemd(t, "another process", func() bool {
		now := mainPID(t)
		return now != 0 && now != pid && property(t, "ActiveState") == "active"
	})
	took := time.Since(start)
	scrapeBody(t, "/alpha")
	t.Logf("kill -9 under load: back after %v; %s", took.Round(time.Millisecond), l.finish())
	if took > time.Second {
		t.Errorf("back after %v, want within a second", took)
	}
	if n := l.refused.Load(); n != 0 {
		t.Errorf("%d connections refused", n)
	}
}

// network looks from inside of the service's network namespace.
func (m *machine) network(t *testing.T) {
	errs := make(chan error)
	go func() {
		// Not unlocked: the thread, in the other namespace, ends with this.
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
	t.Logf("a connection from inside the service's network: %v", err)
	if err == nil {
		t.Error("it has a way to the network")
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
	waitSystemd(t, "the watchdog to restart it", func() bool {
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
	out, err := exec.Command("systemd-analyze", "verify", "/etc/systemd/system/aegis.socket", "/etc/systemd/system/aegis.service").CombinedOutput()
	t.Logf("systemd-analyze verify: %v, %q", err, out)
	if err != nil || len(out) > 0 {
		t.Error("systemd-analyze verify is not silent")
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

func (m *machine) paths() []string {
	var paths []string
	for _, name := range systemdServices {
		paths = append(paths, "/"+name)
	}
	return paths
}

func (m *machine) nothingFailed(t *testing.T, l *load) {
	t.Helper()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d scrapes failed: %v", n, l.errs)
	}
	if n := l.scrapes.Load(); n < 10_000 {
		t.Errorf("only %d scrapes: too few to tell", n)
	}
}

// holdings is what a process holds.
type holdings struct {
	descriptors int
	resident    int // bytes
}

func (h holdings) String() string {
	return fmt.Sprintf("%d descriptors, %d KiB resident", h.descriptors, h.resident>>10)
}

func (m *machine) holds(t *testing.T) holdings {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", mainPID(t))
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	statm, err := os.ReadFile(proc + "statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return holdings{len(fds), pages * os.Getpagesize()}
}

func scrapeBody(t *testing.T, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get("http://" + systemdAddr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %s, %v: %s", path, resp.Status, err, body)
	}
	return string(body)
}

func systemctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// property is one of the service's, as systemctl show has it.
func property(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "--value", "-p", name, "aegis.service").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func mainPID(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(property(t, "MainPID"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// waitSystemd is waitFor with the patience that the watchdog needs.
func waitSystemd(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
