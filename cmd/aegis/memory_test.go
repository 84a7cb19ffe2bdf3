package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/web"
)

// memoryMax is the MemoryMax= of the service unit (nix/units.nix).
const memoryMax = 256 << 20

// Whatever scrapers do, all at once and on every connection there may be, Aegis
// stays within the memory that its unit allows, where the kernel would kill it.
func TestMemoryLimit(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "needs root, to set a limit of memory")
	}
	if raceDetector() {
		t.Skip("the race detector takes several times as much memory")
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 3*limits.MaxConns {
		t.Skipf("needs %d descriptors, there may be %d", 3*limits.MaxConns, files.Cur)
	}
	idle := int(min(files.Cur/4, limits.MaxIdleBackendConns))
	group := newMemoryGroup(t, memoryMax)
	dir := sampleFolder(t)
	p := start(t, "aegis", "sh", "-c", `echo $$ >"$0/cgroup.procs" && exec aegis "$@"`, group, "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	neighbour := dialAndScrape(t, addr, 10*time.Second)
	_, before := taken(t, p)
	keepIdle(t, dir, addr, idle)
	_, kept := taken(t, p)

	long := strings.Repeat("a", limits.MaxRequestHead-1000)
	requests := []string{
		"GET /svc HTTP/1.1\r\nHost: h\r\nX-Pad: " + long,
		"GET /svc?" + long + " HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /large HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: 30\r\n\r\n",
		"GET /sloth?" + long + " HTTP/1.1\r\nHost: h\r\n\r\n",
		strings.Repeat("GET /other HTTP/1.1\r\nHost: h\r\n\r\n", 10),
		strings.Repeat("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 4),
		strings.Repeat("GET /-/sd HTTP/1.1\r\nHost: h\r\n\r\n", 4),
		strings.Repeat("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 4),
	}
	for i := range limits.MaxConns - 10 {
		c, err := tight.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, requests[i%len(requests)])
	}
	scraped := 0
	for range 200 {
		time.Sleep(5 * time.Millisecond) // for all of it to come to its worst
		if strings.HasPrefix(scrapeOn(neighbour, 10*time.Second), "HTTP/1.1 200 ") {
			scraped++
		}
	}
	_, now := taken(t, p)
	t.Logf("%.0f MiB resident, before it were %.0f, and %.0f with %d idle connections to services; most that the group had: %d MiB of %d", now, before, kept, idle, peak(t, group)>>20, memoryMax>>20)
	// A few are refused in the moment in which more come than may be under way.
	if scraped < 190 {
		t.Errorf("a neighbour was scraped %d times of 200", scraped)
	}
	if kills := outOfMemoryKills(t, group); kills > 0 || p.cmd.ProcessState != nil {
		t.Errorf("killed for want of memory (%d)", kills)
	}
}

// tight dials for who takes next to nothing: what it does not read stays on Aegis'
// side.
var tight = net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) })
}}

// Of the scrapers that do not take their answer, limits.MaxUndrained are waited for. The others
// are let go with it.
func TestAnswersNobodyTakes(t *testing.T) {
	const more = 50
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", sampleFolder(t))
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	scrapers := make([]unix.PollFd, limits.MaxUndrained+more)
	answers := make([]*bufio.Reader, len(scrapers))
	for i := range scrapers {
		c, err := tight.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { scrapers[i].Fd = int32(fd) })
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: h\r\nPragma: for net/http\r\n\r\n")
		// One after the other, or a slow machine answers some that there are too many
		// before them, which they take.
		answers[i] = bufio.NewReaderSize(c, 16)
		if head, err := answers[i].Peek(13); string(head) != "HTTP/1.1 200 " {
			t.Fatalf("scraper %d: %q, %v", i, head, err)
		}
	}
	reset := 0
	eventually(t, func() error {
		if _, err := unix.Poll(scrapers, 0); err != nil {
			return err
		}
		reset = 0
		for _, s := range scrapers {
			if s.Revents&unix.POLLERR != 0 {
				reset++
			}
		}
		if reset < more {
			return fmt.Errorf("%d connections were reset, want %d", reset, more)
		}
		return nil
	})
	taken := 0
	for _, answer := range answers {
		if resp, err := http.ReadResponse(answer, nil); err == nil {
			if _, err := io.Copy(io.Discard, resp.Body); err == nil {
				taken++
			}
		}
	}
	if reset != more || taken != limits.MaxUndrained {
		t.Errorf("%d connections were reset and %d answers were taken, want %d and %d", reset, taken, more, limits.MaxUndrained)
	}
}

// The bound on what waits in the kernel is the listener's, and goes with what it
// accepts.
func TestConnectionsHoldLittle(t *testing.T) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	guarded := web.New(web.Config{Folder: socketdir.New(t.TempDir()), Log: slog.New(slog.DiscardHandler)}).Guard(l, nil)
	defer guarded.Close()
	scraper, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer scraper.Close()
	c, err := guarded.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); n != limits.NotSentLowat || err != nil {
			t.Errorf("%d bytes may wait (%v), want %d", n, err, limits.NotSentLowat)
		}
	})
}

// keepIdle has Aegis keep n connections, each to another service in dir.
func keepIdle(t *testing.T, dir, addr string, n int) {
	t.Helper()
	scraper := dialAndScrape(t, addr, 10*time.Second)
	scraper.SetDeadline(time.Now().Add(time.Minute))
	answers := bufio.NewReader(scraper)
	for i := range n {
		name := fmt.Sprintf("idle%d", i)
		l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			if c, err := l.Accept(); err == nil {
				http.ReadRequest(bufio.NewReaderSize(c, 16))
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nx 1\n")
				c.Read(make([]byte, 1)) // until the end
				c.Close()
			}
		}()
		fmt.Fprintf(scraper, "GET /%s HTTP/1.1\r\nHost: h\r\n\r\n", name)
		resp, err := http.ReadResponse(answers, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", name, resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}

// newMemoryGroup makes a control group with a limit of memory, of whichever
// version the machine has.
func newMemoryGroup(t *testing.T, most int64) (dir string) {
	t.Helper()
	parent, limit := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		parent, limit = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	}
	dir = filepath.Join(parent, fmt.Sprintf("aegis-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no control group of the test's own: %v", err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.WriteFile(filepath.Join(dir, limit), []byte(strconv.FormatInt(most, 10)), 0o644); err != nil {
		t.Skipf("no limit of memory: %v", err)
	}
	return dir
}

// peak returns the most bytes that the group had.
func peak(t *testing.T, group string) int64 {
	t.Helper()
	for _, file := range []string{"memory.max_usage_in_bytes", "memory.peak"} {
		if text, err := os.ReadFile(filepath.Join(group, file)); err == nil {
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

func outOfMemoryKills(t *testing.T, group string) int {
	t.Helper()
	for _, file := range []string{"memory.oom_control", "memory.events"} {
		text, err := os.ReadFile(filepath.Join(group, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				kills, err := strconv.Atoi(strings.TrimSpace(n))
				if err != nil {
					t.Fatal(err)
				}
				return kills
			}
		}
	}
	t.Fatal("the kernel does not say how often it killed")
	return 0
}
