package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// memoryMax is the MemoryMax= of the service unit (nix/units.nix).
const memoryMax = 256 << 20

// Whatever clients do, all at once and on as many connections as there may be, Aegis stays
// within the memory limit of its unit, beyond which the kernel would kill it.
func TestMemoryLimit(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "needs root, to make a control group")
	}
	if raceDetector() {
		t.Skip("the race detector needs several times the memory")
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 3*limits.MaxConns {
		t.Skipf("needs %d descriptors, the limit is %d", 3*limits.MaxConns, files.Cur)
	}
	const services = 5_000 // each has a record
	group := newMemoryGroup(t, memoryMax)
	dir := sampleDirectory(t)
	p := start(t, "sh", "-c", `echo $$ >"$0/cgroup.procs" && exec aegis "$@"`, string(group), "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitAddress(t)
	scrape := neighbour(t, addr)
	_, before := p.processUsage(t)
	scrapeManyServices(t, dir, addr, services)
	_, scrapedAll := p.processUsage(t)

	long := strings.Repeat("a", limits.MaxRequestHead-1000)
	requests := []string{
		"GET /svc HTTP/1.1\r\nHost: h\r\nX-Pad: " + long,
		get("/svc?" + long),
		get("/large", "X-Prometheus-Scrape-Timeout-Seconds: 30"),
		get("/sloth?" + long),
		strings.Repeat(get("/other"), 10),
		strings.Repeat(get("/"), 4),
		strings.Repeat(get("/-/sd"), 4),
		strings.Repeat(get("/metrics"), 4),
	}
	for i := range limits.MaxConns - 10 {
		c, err := smallWindow.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, requests[i%len(requests)])
	}
	scraped := 0
	for range 200 {
		time.Sleep(5 * time.Millisecond) // so that memory reaches its peak
		if scrape() {
			scraped++
		}
	}
	_, now := p.processUsage(t)
	t.Logf("%.0f MiB resident, %.0f before, %.0f after scrapes of %d services; peak of the group: %d MiB of %d",
		now, before, scrapedAll, services, group.peak(t)>>20, memoryMax>>20)
	// A few get 503 while more scrapes than allowed arrive at once.
	if scraped < 190 {
		t.Errorf("%d of 200 scrapes of a neighbour succeeded", scraped)
	}
	if kills := group.kills(t); kills > 0 || p.cmd.ProcessState != nil {
		t.Errorf("the kernel killed %d processes for lack of memory", kills)
	}
}

// scrapeManyServices makes n services in dir and scrapes each once.
func scrapeManyServices(t *testing.T, dir, addr string, n int) {
	t.Helper()
	scraper := dial(t, addr)
	scraper.SetDeadline(time.Now().Add(time.Minute))
	responses := bufio.NewReader(scraper)
	for i := range n {
		name := fmt.Sprintf("idle%d", i)
		l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			if c, err := l.Accept(); err == nil {
				afterRequest(c, length+"x 1\n")
				c.Close()
			}
		}()
		io.WriteString(scraper, get("/"+name))
		resp, err := http.ReadResponse(responses, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", name, resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}

// memoryGroup is the directory of a control group with a memory limit.
type memoryGroup string

// newMemoryGroup makes a control group of the version that the machine has.
func newMemoryGroup(t *testing.T, maxBytes int64) memoryGroup {
	t.Helper()
	parent, limit := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		parent, limit = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	}
	dir := filepath.Join(parent, fmt.Sprintf("aegis-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("this machine lets the test make no control group: %v", err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.WriteFile(filepath.Join(dir, limit), []byte(strconv.FormatInt(maxBytes, 10)), 0o644); err != nil {
		t.Skipf("this control group has no memory limit: %v", err)
	}
	return memoryGroup(dir)
}

// peak returns the most bytes that the group has used, 0 if the kernel does not tell.
func (g memoryGroup) peak(t *testing.T) int64 {
	t.Helper()
	for _, file := range []string{"memory.max_usage_in_bytes", "memory.peak"} {
		if text, err := os.ReadFile(filepath.Join(string(g), file)); err == nil {
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// kills returns how many processes of the group the kernel has killed for lack of memory.
func (g memoryGroup) kills(t *testing.T) int {
	t.Helper()
	for _, file := range []string{"memory.oom_control", "memory.events"} {
		text, err := os.ReadFile(filepath.Join(string(g), file))
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
	t.Fatal("the kernel does not tell how many processes it has killed")
	return 0
}
