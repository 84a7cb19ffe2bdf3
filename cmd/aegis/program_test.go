package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
)

// program is a process that a test started.
type program struct {
	cmd *exec.Cmd
	log string // path of the file with its output
}

// start starts a program, which ends with the test.
func start(t *testing.T, binary string, args ...string) *program {
	t.Helper()
	name := filepath.Base(binary)
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &program{exec.Command(binary, args...), log.Name()}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s (%v) wrote:\n%s", name, p.cmd.ProcessState, p.output(t))
		}
	})
	return p
}

// startAegis starts aegis for the sockets in dir. It returns the process and its address.
func startAegis(t *testing.T, dir string, flags ...string) (p *program, addr string) {
	t.Helper()
	p = start(t, "aegis", append(flags, "-hostport", "127.0.0.1:0", "-sockdir", dir)...)
	return p, p.awaitAddress(t)
}

// kill ends p, which may have ended before.
func (p *program) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (p *program) output(t *testing.T) []byte {
	t.Helper()
	out, err := os.ReadFile(p.log)
	if err != nil {
		t.Error(err)
	}
	return out
}

// awaitOutput waits until p has written text that matches pattern, and returns the match.
func (p *program) awaitOutput(t *testing.T, pattern string) (match [][]byte) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	eventually(t, func() error {
		if match = re.FindSubmatch(p.output(t)); match == nil {
			return fmt.Errorf("%s has not written %s", p.cmd.Path, pattern)
		}
		return nil
	})
	return match
}

// awaitAddress waits until p, an aegis, serves. It returns its address.
func (p *program) awaitAddress(t *testing.T) string {
	t.Helper()
	return string(p.awaitOutput(t, `msg=serving address=(\S+)`)[1])
}

// processUsage returns how many descriptors and how many MiB of memory p has.
func (p *program) processUsage(t *testing.T) (descriptors int, residentMiB float64) {
	t.Helper()
	pid := p.cmd.Process.Pid
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries), resident(t, pid)
}

// resident returns how many MiB of memory the process pid has.
func resident(t testing.TB, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kib float64
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	fmt.Sscan(string(rest), &kib)
	return kib / 1024
}

// checkMemory fails if p has more than allowed MiB of memory more than before.
func (p *program) checkMemory(t *testing.T, before, allowed float64) {
	t.Helper()
	_, now := p.processUsage(t)
	t.Logf("%.0f MiB resident, %.0f before", now, before)
	if now > before+allowed {
		t.Errorf("%.0f MiB resident, %.0f before; want at most %.0f more", now, before, allowed)
	}
}

// allowedGrowth returns how many MiB hostile clients or services may make Aegis use.
func allowedGrowth() float64 {
	if raceDetector() {
		return 1000
	}
	return 100
}

// raceDetector reports whether the program was built with the race detector, which needs
// several times the memory and time.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// missing skips a test that cannot run for the reason why, or fails it with
// AEGIS_TEST_NO_SKIP=1.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("AEGIS_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// installed returns the path of a program that a Debian package has.
func installed(t *testing.T, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, fmt.Sprintf("%s is missing; on Debian: apt install %s", name, debianPackage))
	}
	return path
}

// eventually waits until condition returns nil, for a minute at most.
func eventually(t *testing.T, condition func() error) {
	t.Helper()
	const timeout = time.Minute
	deadline := time.Now().Add(timeout)
	for err := condition(); err != nil; err = condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", timeout, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// waitFor waits for what, until ok returns true.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventually(t, func() error {
		if !ok() {
			return fmt.Errorf("still waiting for %s", what)
		}
		return nil
	})
}

func writeFile(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lockedBuffer is a buffer that one goroutine may read while another writes.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
