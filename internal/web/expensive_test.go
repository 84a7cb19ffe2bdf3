package web

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// hang mounts a file system that never responds on path, until the test ends.
func hang(t *testing.T, path string) {
	t.Helper()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd())
	if err := unix.Mount("aegis-test", path, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		fuse.Close()
		t.Skip(err)
	}
	t.Cleanup(func() {
		fuse.Close() // This ends the calls that hang.
		unix.Unmount(path, unix.MNT_DETACH)
	})
}

// takeExpensive takes all slots of limits.Expensive that are free, until the test ends or they are given back.
func takeExpensive(t *testing.T) (taken int, giveBack func()) {
	// Another test may have one for a moment.
	for taken < limits.MaxExpensive && limits.Expensive.Acquire(t.Context(), 100*time.Millisecond) {
		taken++
	}
	held := taken
	giveBack = func() {
		for ; held > 0; held-- {
			limits.Expensive.Release()
		}
	}
	t.Cleanup(giveBack)
	return taken, giveBack
}

// Requests that wait for a file system that hangs leave the slots of limits.Expensive to others.
func TestFileSystemThatHangsHoldsNoSlot(t *testing.T) {
	for name, tt := range map[string]struct {
		path      string
		elsewhere bool // A socket outside of the directory hangs, and the directory does not.
	}{
		"page":        {"/", false},
		"discovery":   {"/-/sd", false},
		"own metrics": {"/metrics", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			hangs := a.dir
			if tt.elsewhere {
				hangs = t.TempDir()
				a.setTargets(map[string]targetsfile.Target{"svc": {Socket: filepath.Join(hangs, "svc.sock")}})
			}
			hang(t, hangs)
			begin := time.Now()
			for range limits.MaxExpensive {
				go func() {
					if resp, err := http.Get("http://" + a.addr + tt.path); err == nil {
						resp.Body.Close()
					}
				}()
			}
			eventually(t, "the requests are in flight", func() bool { return a.conns.Requests() == limits.MaxExpensive })
			time.Sleep(100 * time.Millisecond) // They have reached the file system by then, or the test sees no fault.
			taken, giveBack := takeExpensive(t)
			giveBack()
			if time.Since(begin) > limits.ListTimeout/2 {
				t.Skip("this machine is too busy")
			}
			if taken < limits.MaxExpensive || a.conns.Requests() != limits.MaxExpensive {
				t.Errorf("%d of %d slots are free, with %d requests in flight", taken, limits.MaxExpensive, a.conns.Requests())
			}
		})
	}
}

// The directory is read before a slot is taken: without one, the responses still say what is wrong with it.
func TestDirectoryIsReadWithoutASlot(t *testing.T) {
	a := start(t)
	remove(t, a.dir)
	_, giveBack := takeExpensive(t)
	if got := a.get("/-/sd"); got.StatusCode != 503 || !strings.Contains(got.body, a.dir) {
		t.Errorf("discovery without a slot: %d %q, want 503 and the directory", got.StatusCode, got.body)
	}
	for _, path := range []string{"/metrics", "/"} {
		if got := a.get(path); got.StatusCode != 503 || !strings.Contains(got.body, "busy") {
			t.Errorf("%s without a slot: %d %q, want 503", path, got.StatusCode, got.body)
		}
	}
	if !strings.Contains(a.log.String(), "cannot read the directory") {
		t.Error("Aegis' own metrics do not read the directory without a slot")
	}
	giveBack()
	if got := a.metric("aegis_sockdir_up"); got != "0" {
		t.Errorf("with a slot again, aegis_sockdir_up is %q, want 0", got)
	}
}
