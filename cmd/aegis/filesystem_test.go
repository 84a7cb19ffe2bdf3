package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A file system that hangs delays no request longer than a scrape may take. Once it is gone,
// Aegis works again without a restart. The file system is one of FUSE whose server never
// responds.
func TestHangingFileSystem(t *testing.T) {
	t.Parallel()
	for name, mountPoint := range map[string]func(dir string) string{
		"over the directory":          func(dir string) string { return dir },
		"over the directory above it": filepath.Dir,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "run")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			testHangingFileSystem(t, dir, mountPoint(dir))
		})
	}
}

func testHangingFileSystem(t *testing.T, dir, mountPoint string) {
	recordingService(t, dir, "svc")
	_, addr := startAegis(t, dir)
	c := dialAndScrape(t, addr)
	unmount := mountHanging(t, mountPoint)

	begin := time.Now()
	c.SetDeadline(begin.Add(time.Minute))
	io.WriteString(c, get("/svc", "X-Prometheus-Scrape-Timeout-Seconds: 2"))
	buf := make([]byte, 4096)
	n, _ := c.Read(buf)
	if got := string(buf[:n]); !responseMatches(got, "504 svc: ") || time.Since(begin) < time.Second {
		t.Errorf("after %v: %q, want 504 after two seconds", time.Since(begin), got)
	}
	var pages sync.WaitGroup
	for path, want := range map[string]int{"/-/healthy": 200, "/-/sd": 503, "/metrics": 200, "/": 503} {
		pages.Go(func() {
			resp, err := (&http.Client{Timeout: time.Minute}).Get("http://" + addr + path)
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
		if got := scrapeOn(c, "/svc"); !isOK(got) {
			return fmt.Errorf("after the file system is gone: %q", got)
		}
		return nil
	})
}

// mountHanging mounts a file system that hangs.
func mountHanging(t *testing.T, path string) (unmount func()) {
	t.Helper()
	needRoot(t)
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		missing(t, fmt.Sprintf("there is no FUSE: %v", err))
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse.Fd())
	if err := unix.Mount("aegis-test", path, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		fuse.Close()
		missing(t, fmt.Sprintf("mounting FUSE failed: %v", err))
	}
	unmount = func() { fuse.Close(); unix.Unmount(path, unix.MNT_DETACH) }
	t.Cleanup(unmount)
	return unmount
}

// If a directory on a file system is unmounted and mounted again, Aegis serves what is there
// at each moment.
func TestUnmountedDirectory(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := t.TempDir()
	mount := func() {
		if err := unix.Mount("aegis-test", dir, "tmpfs", 0, "mode=0755,size=1m"); err != nil {
			missing(t, fmt.Sprintf("mounting a tmpfs failed: %v", err))
		}
	}
	mount()
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	recordingService(t, dir, "svc")
	_, addr := startAegis(t, dir)
	c := dialAndScrape(t, addr)
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if got := scrapeOn(c, "/svc"); !responseMatches(got, "404 svc: ") {
		t.Errorf("unmounted: %q, want 404", got)
	}
	mount()
	fillFileSystem(t, dir) // Aegis writes nothing.
	recordingService(t, dir, "svc")
	if got := scrapeOn(c, "/svc"); !isOK(got) {
		t.Errorf("mounted again, and full: %q", got)
	}
}

// fillFileSystem fills the file system of dir.
func fillFileSystem(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "needs root, to mount a file system")
	}
}
