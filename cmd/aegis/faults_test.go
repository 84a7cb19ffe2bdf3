package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Whatever the kernel refuses, Aegis stays up, says what is wrong, and is well
// again when the kernel is. The faults are real to Aegis: strace puts them in
// place of what its system calls return.
func TestFaultsOfTheKernel(t *testing.T) {
	strace := installed(t, "strace", "strace")
	for name, tt := range map[string]struct {
		inject string
		answer string // to a scrape over a connection that is there; empty: none in time
		logged string
	}{
		"no descriptor in the system for a scraper": {inject: "accept4:error=ENFILE", answer: "200", logged: `accepting a connection failed.*too many open files in system`},
		"no memory for a scraper":                   {inject: "accept4:error=ENOMEM", answer: "200", logged: `accepting a connection failed.*cannot allocate memory`},
		"no descriptor in the system for a service": {inject: "socket:error=ENFILE", answer: "503 svc: .*too many open files in system"},
		"no descriptor in the system to look":       {inject: "openat,open:error=ENFILE", answer: "503 svc: .*too many open files in system"},
		"no memory to connect":                      {inject: "connect:error=ENOMEM", answer: "503 svc: .*cannot allocate memory"},
		"a folder that cannot be read":              {inject: "statx,newfstatat,lstat,fstatat64:error=EIO", answer: "503 svc: .*input/output error"},
		"a stale file handle":                       {inject: "statx,newfstatat,lstat:error=ESTALE", answer: "503 svc: .*stale file handle"},
		"no statx":                                  {inject: "statx:error=ENOSYS", answer: "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			recordingService(t, dir, "svc")
			p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
			addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
			there := dialAndScrape(t, addr, 10*time.Second)
			// A kept connection to the service would hide the fault of a new one.
			if err := os.Remove(filepath.Join(dir, "svc.sock")); err != nil {
				t.Fatal(err)
			}
			recordingService(t, dir, "svc")

			tracer := start(t, "strace", strace, "-f", "-qq", "-o", "/dev/null", "-e", "inject="+tt.inject, "-p", strconv.Itoa(p.cmd.Process.Pid))
			eventually(t, func() error {
				status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
				if err != nil || strings.Contains(string(status), "TracerPid:\t0\n") {
					return fmt.Errorf("not traced yet (%v)", err)
				}
				return nil
			})
			newcomer, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer newcomer.Close()
			if got := scrapeOn(there, 10*time.Second); !matchesAnswer(got, tt.answer) {
				t.Errorf("with the fault: %q, want %s", got, tt.answer)
			}
			if tt.logged != "" {
				p.awaitOutput(t, "("+tt.logged+")")
			}
			tracer.cmd.Process.Signal(syscall.SIGINT) // which lets go of what is traced
			tracer.cmd.Wait()

			if got := scrapeOn(newcomer, 10*time.Second); !strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Errorf("without the fault, who waited got %q", got)
			}
			if got := scrapeOn(there, 10*time.Second); !strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Errorf("without the fault: %q", got)
			}
		})
	}
}

// matchesAnswer reports whether an HTTP answer has the status that want begins
// with, and says the rest, a pattern.
func matchesAnswer(got, want string) bool {
	status, says, _ := strings.Cut(want, " ")
	return strings.HasPrefix(got, "HTTP/1.1 "+status+" ") && regexp.MustCompile(says).MatchString(got)
}

// A file system that hangs holds nobody longer than a scrape may take, and when it
// is gone Aegis needs no restart. The file system is one of FUSE whose server
// never answers.
func TestFolderOnAFileSystemThatHangs(t *testing.T) {
	for name, over := range map[string]func(folder string) string{
		"over the folder":       func(folder string) string { return folder },
		"over what leads there": filepath.Dir,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testHangingFileSystem(t, over)
		})
	}
}

// testHangingFileSystem has the file system come over what over says of the folder.
func testHangingFileSystem(t *testing.T, over func(folder string) string) {
	needsMount(t)
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	recordingService(t, dir, "svc")
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	c := dialAndScrape(t, addr, 10*time.Second)

	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		missing(t, fmt.Sprintf("no FUSE here: %v", err))
	}
	defer fuse.Close()
	if err := unix.Mount("aegis-test", over(dir), "fuse", unix.MS_NODEV|unix.MS_NOSUID, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse.Fd())); err != nil {
		missing(t, fmt.Sprintf("cannot mount FUSE here: %v", err))
	}
	unmount := func() { fuse.Close(); unix.Unmount(over(dir), unix.MNT_DETACH) }
	t.Cleanup(unmount)
	time.Sleep(2 * limits.GlanceAge)

	begin := time.Now()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte("GET /svc HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 2\r\n\r\n"))
	buf := make([]byte, 4096)
	n, _ := c.Read(buf)
	if got := string(buf[:n]); !matchesAnswer(got, "504 no end in time of looking at the folder") || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %q, want 504 after 2 s", time.Since(begin), got)
	}
	var pages sync.WaitGroup
	for path, want := range map[string]int{"/-/healthy": 200, "/-/sd": 503, "/metrics": 200, "/": 503} {
		pages.Go(func() {
			resp, err := (&http.Client{Timeout: 20 * time.Second}).Get("http://" + addr + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: %s, want %d", path, resp.Status, want)
			}
		})
	}
	pages.Wait()
	unmount()
	eventually(t, func() error {
		if got := scrapeOn(c, 10*time.Second); !strings.HasPrefix(got, "HTTP/1.1 200") {
			return fmt.Errorf("when it is gone: %q", got)
		}
		return nil
	})
}

// A folder on a file system that is unmounted and comes back is served as what it
// is at each moment.
func TestFolderIsUnmounted(t *testing.T) {
	needsMount(t)
	dir := t.TempDir()
	mount := func() {
		if err := unix.Mount("aegis-test", dir, "tmpfs", 0, "mode=0755,size=1m"); err != nil {
			missing(t, fmt.Sprintf("cannot mount a tmpfs here: %v", err))
		}
	}
	mount()
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	recordingService(t, dir, "svc")
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	c := dialAndScrape(t, addr, 10*time.Second)
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if got := scrapeOn(c, 10*time.Second); !matchesAnswer(got, "404 there is no") {
		t.Errorf("unmounted: %q, want 404", got)
	}
	mount()
	// A full file system is none of Aegis' concern: it writes nothing.
	if f, err := os.Create(filepath.Join(dir, "filler")); err == nil {
		for {
			if _, err := f.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		f.Close()
	}
	recordingService(t, dir, "svc")
	if got := scrapeOn(c, 10*time.Second); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("mounted again, and full: %q", got)
	}
}

// A log that cannot be written is no reason to stop serving.
func TestLogOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0") // The log cannot tell which port it is.
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command("aegis", "-hostport", addr, "-sockdir", dir)
	cmd.Stdout, cmd.Stderr = full, full
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, func() error {
		resp, err := http.Get("http://" + addr + "/svc")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
}

// A journal that hangs, or a pager that is forgotten, is no reason for a scrape or a
// stop to.
func TestLogThatNobodyReads(t *testing.T) {
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-log.level", "debug")
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w.Close()
	r.SetReadDeadline(time.Now().Add(time.Minute))
	log := bufio.NewScanner(r)
	await := func(pattern string) (group string) {
		t.Helper()
		for re := regexp.MustCompile(pattern); log.Scan(); {
			if match := re.FindStringSubmatch(log.Text()); match != nil {
				return match[1]
			}
		}
		t.Fatalf("the log never had %s: %v", pattern, log.Err())
		return ""
	}
	addr := await(`msg=serving address=(\S+)`)
	client := &http.Client{Timeout: 10 * time.Second}
	scrapes := 3 * limits.MaxLogQueue // With what the pipe holds, more than are kept.
	scrape := func() {
		t.Helper()
		for range scrapes {
			resp, err := client.Get("http://" + addr + "/svc")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status, err)
			}
			resp.Body.Close()
		}
	}
	scrape()
	lost, err := strconv.Atoi(await(`^aegis: (\d+) lines of the log are lost here`))
	if err != nil || lost < 1 || lost >= scrapes {
		t.Errorf("%d lines of %d are lost (%v)", lost, scrapes, err)
	}
	scrape()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestClockJumps sets the clock of the whole machine, an hour forward and two
// back, so it runs on its own and where that is wanted:
//
//	AEGIS_TEST_CLOCK=1 go test -run ClockJumps -v ./cmd/aegis
func TestClockJumps(t *testing.T) {
	if os.Getenv("AEGIS_TEST_CLOCK") == "" {
		t.Skip("it sets the machine's clock; AEGIS_TEST_CLOCK=1 in the environment runs it")
	}
	dir := sampleFolder(t)
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	c := dialAndScrape(t, addr, 10*time.Second)
	jump := func(by time.Duration) {
		now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	defer func() { // back to where it was, by the clock that does not jump
		now := unix.NsecToTimespec(begin.UnixNano() + int64(time.Since(begin)))
		unix.ClockSettime(unix.CLOCK_REALTIME, &now)
	}()
	for _, by := range []time.Duration{time.Hour, -2 * time.Hour} {
		answers := make(chan string)
		slow := dialAndScrape(t, addr, 10*time.Second)
		go func() {
			slow.SetDeadline(time.Time{}) // Go's deadlines do not jump either, but be sure.
			slow.Write([]byte("GET /sloth HTTP/1.1\r\nHost: h\r\n\r\n"))
			buf := make([]byte, 4096)
			n, _ := slow.Read(buf)
			answers <- string(buf[:n])
		}()
		time.Sleep(500 * time.Millisecond)
		jump(by)
		if got := <-answers; !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("a scrape during a jump by %v: %q", by, got)
		}
		for range 100 {
			if got := scrapeOn(c, 10*time.Second); !strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Fatalf("after a jump by %v: %q", by, got)
			}
		}
	}
}

func needsMount(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "needs root, to mount a file system")
	}
}
