package socketdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// timerless is a context with a deadline but no timer, like that of a scrape: its Done
// channel stays open when the deadline passes.
type timerless struct {
	context.Context
	deadline time.Time
}

func (c timerless) Deadline() (time.Time, bool) { return c.deadline, true }

func withDeadline(ctx context.Context, timeout time.Duration) context.Context {
	return timerless{ctx, time.Now().Add(timeout)}
}

// Not more than limits.MaxBlockingFSCalls calls run at a time, and callers need not wait
// for those that hang.
func TestCallsThatHang(t *testing.T) {
	d := New(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	started, hang := make(chan bool), make(chan bool)
	call := func() (int, error) {
		started <- true
		<-hang
		return 1, nil
	}
	discarded := make(chan int)
	discard := func(n int) { discarded <- n }

	errs := make(chan error)
	for range limits.MaxBlockingFSCalls {
		go func() {
			_, err := runWithDeadline(ctx, d, call, discard)
			errs <- err
		}()
		<-started
	}
	oneMore := func() (int, error) {
		t.Error("one more call runs")
		return 0, nil
	}
	ctxOneMore := withDeadline(t.Context(), 10*time.Millisecond)
	if _, err := runWithDeadline(ctxOneMore, d, oneMore, discard); !errors.Is(err, ErrTimeout) {
		t.Errorf("without a free slot: %v, want %v", err, ErrTimeout)
	}
	cancel()
	for range limits.MaxBlockingFSCalls {
		if err := <-errs; !errors.Is(err, ErrTimeout) {
			t.Errorf("after the context was cancelled: %v, want %v", err, ErrTimeout)
		}
	}

	close(hang)
	for range limits.MaxBlockingFSCalls {
		<-discarded
	}
	if _, err := find(t.Context(), d, "svc"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after the calls returned: %v, want %v", err, ErrNotFound)
	}
}

// A connection that is made after the caller gave up is closed.
func TestLateDialIsClosed(t *testing.T) {
	// Otherwise the garbage collector may close the connection.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	d := New(t.TempDir())
	l, err := net.Listen("unix", filepath.Join(d.path, "svc"+Suffix))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := find(t.Context(), d, "svc")
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late := 0
	for range 100 {
		c, _, err := s.Dial(canceled)
		if err == nil {
			c.Close() // It was made before Dial looked at the context.
		} else {
			late++
		}
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		peer.SetDeadline(time.Now().Add(time.Minute))
		_, err = peer.Read(make([]byte, 1))
		peer.Close()
		if err != io.EOF {
			t.Fatalf("Read: %v; want the end of the connection", err)
		}
	}
	if late == 0 {
		t.Error("every dial was in time, want some that are late")
	}
}

// The file system is one of FUSE that never responds.
func TestFileSystemThatHangs(t *testing.T) {
	d := New(t.TempDir())
	listen(t, d.path, "svc", "")
	s, err := find(t.Context(), d, "svc")
	if err != nil {
		t.Fatal(err)
	}
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd())
	if err := unix.Mount("aegis-test", d.path, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		fuse.Close()
		t.Skip(err)
	}
	t.Cleanup(func() {
		fuse.Close() // This ends the calls that hang.
		unix.Unmount(d.path, unix.MNT_DETACH)
	})
	for name, call := range map[string]func(context.Context) error{
		"Lookup": func(ctx context.Context) error { _, err := find(ctx, d, "svc"); return err },
		"Dial":   func(ctx context.Context) error { _, _, err := s.Dial(ctx); return err },
		"List":   func(ctx context.Context) error { _, err := d.List(ctx); return err },
	} {
		if err := call(withDeadline(t.Context(), 50*time.Millisecond)); !errors.Is(err, ErrTimeout) {
			t.Errorf("%s: %v, want %v", name, err, ErrTimeout)
		}
	}
}
