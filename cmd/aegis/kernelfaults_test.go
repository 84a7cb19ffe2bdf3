package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// If the kernel refuses something, Aegis keeps running, says what is wrong, and works again
// as soon as the kernel does. strace replaces the results of system calls.
func TestKernelFaults(t *testing.T) {
	t.Parallel()
	strace := installed(t, "strace", "strace")
	for name, tt := range map[string]struct {
		inject   string
		response string // to a scrape over an existing connection: status and a pattern
		log      string // a pattern
	}{
		"no descriptor for a client":      {inject: "accept4:error=ENFILE", response: "200", log: `accepting a connection failed.*too many open files in system`},
		"no memory for a client":          {inject: "accept4:error=ENOMEM", response: "200", log: `accepting a connection failed.*cannot allocate memory`},
		"no descriptor for a service":     {inject: "socket:error=ENFILE", response: "503 svc: .*too many open files in system"},
		"no descriptor for the lookup":    {inject: "openat,open:error=ENFILE", response: "503 svc: .*too many open files in system"},
		"no memory for a connection":      {inject: "connect:error=ENOMEM", response: "503 svc: .*cannot allocate memory"},
		"a directory that cannot be read": {inject: "statx,newfstatat,lstat,fstatat64,fstat:error=EIO", response: "503 svc: .*input/output error"},
		"a stale file handle":             {inject: "statx,newfstatat,lstat,fstat:error=ESTALE", response: "503 svc: .*stale file handle"},
		"no statx":                        {inject: "statx:error=ENOSYS", response: "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			recordingService(t, dir, "svc")
			p, addr := startAegis(t, dir)
			existing := dialAndScrape(t, addr)
			// A kept connection to the service would hide the fault.
			if err := os.Remove(filepath.Join(dir, "svc.sock")); err != nil {
				t.Fatal(err)
			}
			recordingService(t, dir, "svc")

			tracer := trace(t, strace, tt.inject, p)
			waiting := dial(t, addr)
			if got := scrapeOn(existing, "/svc"); !responseMatches(got, tt.response) {
				t.Errorf("with the fault: %q, want %s", got, tt.response)
			}
			if tt.log != "" {
				p.awaitOutput(t, tt.log)
			}
			tracer.cmd.Process.Signal(syscall.SIGINT) // This detaches it from aegis.
			tracer.cmd.Wait()

			for name, c := range map[string]net.Conn{"a client that waited": waiting, "the other": existing} {
				if got := scrapeOn(c, "/svc"); !isOK(got) {
					t.Errorf("without the fault, %s got %q", name, got)
				}
			}
		})
	}
}

// trace attaches strace to p and injects a fault.
func trace(t *testing.T, strace, inject string, p *program) *program {
	t.Helper()
	pid := strconv.Itoa(p.cmd.Process.Pid)
	tracer := start(t, strace, "-f", "-qq", "-o", "/dev/null", "-e", "inject="+inject, "-p", pid)
	waitFor(t, "strace to attach to all threads", func() bool {
		threads, _ := filepath.Glob("/proc/" + pid + "/task/*/status")
		return len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
			status, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(status), "TracerPid:\t0\n")
		})
	})
	return tracer
}

// responseMatches reports whether got has the status with which want begins and matches the
// rest of want, a pattern.
func responseMatches(got, want string) bool {
	status, pattern, _ := strings.Cut(want, " ")
	return strings.HasPrefix(got, "HTTP/1.1 "+status+" ") && regexp.MustCompile(pattern).MatchString(got)
}

// TestClockJumps sets the clock of the whole machine an hour forward and two back, so it runs
// only if asked to:
//
//	AEGIS_TEST_CLOCK=1 go test -run ClockJumps -v ./cmd/aegis
func TestClockJumps(t *testing.T) {
	if os.Getenv("AEGIS_TEST_CLOCK") == "" {
		t.Skip("it sets the machine's clock; AEGIS_TEST_CLOCK=1 in the environment runs it")
	}
	_, addr := startAegis(t, sampleDirectory(t))
	c := dialAndScrape(t, addr)
	jump := func(by time.Duration) {
		now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	defer func() { // The monotonic clock does not jump.
		now := unix.NsecToTimespec(begin.UnixNano() + int64(time.Since(begin)))
		unix.ClockSettime(unix.CLOCK_REALTIME, &now)
	}()
	for _, by := range []time.Duration{time.Hour, -2 * time.Hour} {
		response := make(chan string)
		slow := dialAndScrape(t, addr)
		go func() { response <- scrapeOn(slow, "/sloth") }()
		time.Sleep(500 * time.Millisecond)
		jump(by)
		if got := <-response; !isOK(got) {
			t.Errorf("a scrape during a jump by %v: %q", by, got)
		}
		for range 100 {
			if got := scrapeOn(c, "/svc"); !isOK(got) {
				t.Fatalf("after a jump by %v: %q", by, got)
			}
		}
	}
}
