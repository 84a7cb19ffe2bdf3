package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSystemd tests the units of nix/systemd under a real systemd as PID 1. It runs in the
// container that .ci/systemd boots, because it restarts services.
func TestSystemd(t *testing.T) {
	if os.Getenv("AEGIS_TEST_SYSTEMD") == "" {
		t.Skip("runs in the container that .ci/systemd boots")
	}
	m := newMachine(t)
	// Each step needs the one before.
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"activation", m.activation},
		{"status", m.status},
		{"hidden and shared", m.hiddenAndShared},
		{"everything else", m.everythingElse},
		{"a response that nobody reads", m.unreadResponse},
		{"restarts", m.restarts},
		{"reloads", m.reloads},
		{"kill", m.kill},
		{"network", m.network},
		{"watchdog", m.watchdog},
		{"broken file", m.brokenFile},
		{"renewed certificate", m.renewedCertificate},
		{"forward", m.forward},
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

// machine is the container. It has three services.
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
	os.Chmod(systemdDir, 0o770|os.ModeSetgid)
	m := &machine{t, gid, map[string]*http.Server{}}
	for _, name := range systemdServices {
		m.serve(t, name)
	}
	return m
}

// serve starts a service on name.sock, which belongs to group within.
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
		waitFor(t, "the status "+want, func() bool { return property(t, "StatusText") == want })
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
	if resp.StatusCode != 502 || !strings.Contains(string(body), "user namespace") || !strings.Contains(string(body), "mode 0660") {
		t.Errorf("a socket of another group: %d %s", resp.StatusCode, body)
	}
	// With an ACL that lets only user 33 in: the system call filter lets Aegis see that there is one.
	acl := "\x02\x00\x00\x00" + // acl(5): each entry is a tag, permissions and an ID
		"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x21\x00\x00\x00" + "\x04\x00\x00\x00\xff\xff\xff\xff" +
		"\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	if err := unix.Lsetxattr(locked, "system.posix_acl_access", []byte(acl), 0); err != nil {
		t.Fatal(err)
	}
	resp, err = http.Get("http://" + systemdAddr + "/alpha")
	if err != nil {
		t.Fatal(err)
	}
	body, _ = io.ReadAll(resp.Body)
	resp.Body.Close()
	t.Logf("denied: %d %s", resp.StatusCode, body)
	if want := ": setfacl -m u:aegis:rw " + locked; resp.StatusCode != 502 || !strings.Contains(string(body), want) {
		t.Errorf("a socket with an ACL: %d %s, want %s", resp.StatusCode, body, want)
	}
	unix.Lremovexattr(locked, "system.posix_acl_access")
	os.Chown(locked, 0, m.group)
	os.Chmod(locked, 0o660)
	scrapeBody(t, "/alpha")
}

// hiddenAndShared does what the errors advise about sockets that the unit hides, or whose group is that of
// another service: each advice works.
func (m *machine) hiddenAndShared(t *testing.T) {
	const user, group = 33, 33 // www-data
	targets := "targets:\n"
	dropIn := func(settings ...string) {
		t.Helper()
		dir := "/etc/systemd/system/aegis.service.d"
		text := "[Service]\nExecStart=\nExecStart=/usr/local/bin/aegis -sockdir " + systemdDir + " -config.file /etc/aegis.yml\n" + strings.Join(settings, "\n") + "\n"
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/test.conf", []byte(text), 0o644), os.WriteFile("/etc/aegis.yml", []byte(targets), 0o644)); err != nil {
			t.Fatal(err)
		}
		systemctl(t, "daemon-reload")
		systemctl(t, "restart", "aegis.service")
	}
	defer func() {
		os.RemoveAll("/etc/systemd/system/aegis.service.d")
		systemctl(t, "daemon-reload")
		systemctl(t, "restart", "aegis.service")
	}()
	cases := []struct{ name, dir, want, setting string }{
		{"home", "/home/x", "hides the host's /home, and with it", "ProtectHome=read-only"},
		{"tmp", "/tmp/x", "hides the host's /tmp, and with it", "PrivateTmp=no"},
		{"var", "/var/lib/x", "hides the host's /var, and with it", "TemporaryFileSystem="},
		{"link", "/var/run/x", "write /run/x/link.sock instead", "TemporaryFileSystem="},
		{"shared", "/run/shared", "set SupplementaryGroups=GROUP in Aegis' unit", "SupplementaryGroups=www-data"},
	}
	for _, c := range cases {
		os.MkdirAll(c.dir, 0o755)
		path := filepath.Join(c.dir, c.name+".sock")
		targets += "  " + c.name + ": {socket: " + path + "}\n"
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chown(path, user, group), os.Chmod(path, 0o660), os.Chmod(c.dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		if c.name != "shared" {
			os.Chmod(path, 0o666)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x 1\n") })}
		go server.Serve(l)
		defer server.Close()
	}
	dropIn()
	for _, c := range cases {
		resp, err := http.Get("http://" + systemdAddr + "/" + c.name)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		t.Logf("%d %s", resp.StatusCode, body)
		if resp.StatusCode != 502 || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: want %s", c.name, c.want)
		}
	}
	// A check as the service finds the same.
	cmd := exec.Command("/usr/local/bin/aegis", "check", "-sockdir", systemdDir, "-config.file", "/etc/aegis.yml", "home", "shared")
	out, _ := cmd.CombinedOutput()
	_, command, _ := strings.Cut(string(out), "to check as the service: ")
	command, _, _ = strings.Cut(command, "\n")
	out, _ = exec.Command("sh", "-c", command).CombinedOutput()
	t.Logf("%s\n%s", command, out)
	for _, want := range []string{cases[0].want, "SupplementaryGroups=www-data in Aegis' unit"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("a check as the service lacks %q", want)
		}
	}
	var all []string
	for _, c := range cases {
		all = append(all, c.setting)
	}
	dropIn(all...)
	for _, c := range cases {
		scrapeBody(t, "/"+c.name)
	}
}

// everythingElse does what the hardening might not allow: relay bodies with splice(2), read
// Aegis' own metrics from /proc, and serve the other pages.
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

// unreadResponse requests more than the client's buffers hold, and does not read it. Aegis
// notices what is left in the kernel and resets the connection, with the few system calls
// that the service unit allows.
func (m *machine) unreadResponse(t *testing.T) {
	body := strings.Repeat("abcdefg 1\n", 4_000)
	m.serveWith(t, "some", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, body)
	})
	c, err := smallWindow.Dial("tcp", systemdAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, get("/some", "X-Prometheus-Scrape-Timeout-Seconds: 1"))
	waitFor(t, "a reset of the connection", func() (reset bool) {
		raw.Control(func(fd uintptr) {
			errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
			reset = err == nil && errno == int(unix.ECONNRESET)
		})
		return reset
	})
	m.services["some"].Close()
	os.Remove(filepath.Join(systemdDir, "some.sock"))
}

// restarts restarts the service more often than systemd's default start limit allows. No
// scrape is lost.
func (m *machine) restarts(t *testing.T) {
	l := startLoad(t, systemdAddr, 16, m.paths()...)
	for range 20 {
		systemctl(t, "restart", "aegis.service")
		l.more(t, 1000)
	}
	t.Logf("20 restarts under load: %s", l.finish())
	m.nothingFailed(t, l)
}

// reloads reloads the service under load. No scrape, descriptor or memory is lost.
func (m *machine) reloads(t *testing.T) {
	warm := startLoad(t, systemdAddr, 16, m.paths()...)
	warm.more(t, 10_000)
	warm.finish()
	before := m.usage(t)
	l := startLoad(t, systemdAddr, 16, m.paths()...)
	for range 20 {
		systemctl(t, "reload", "aegis.service")
		l.more(t, 1000)
	}
	t.Logf("20 reloads under load: %s", l.finish())
	m.nothingFailed(t, l)
	waitFor(t, "descriptors to be closed", func() bool { return m.usage(t).descriptors <= before.descriptors })
	after := m.usage(t)
	t.Logf("before: %v; after: %v", before, after)
	if after.residentMiB > before.residentMiB+8 {
		t.Errorf("memory grew by %.1f MiB", after.residentMiB-before.residentMiB)
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
		t.Errorf("%d scrapes are too few to tell", n)
	}
}

// processUsage is what a process uses.
type processUsage struct {
	descriptors int
	residentMiB float64
}

func (u processUsage) String() string {
	return fmt.Sprintf("%d descriptors, %.1f MiB resident", u.descriptors, u.residentMiB)
}

func (m *machine) usage(t *testing.T) processUsage {
	t.Helper()
	pid := mainPID(t)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return processUsage{len(fds), resident(t, pid)}
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

// property returns a property of the service.
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
