package socketdir

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"
)

// A connection that a dial makes after its deadline is closed at once: nobody else would.
func TestLateDialLeaksNoDescriptor(t *testing.T) {
	// The garbage collector closes files that are not reachable any more, and would hide a leak.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var accepted, closed atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			go func() {
				io.Copy(io.Discard, c)
				c.Close()
				closed.Add(1)
			}()
		}
	}()
	// Not in the directory that is served, where a dial may be too short to be late.
	s, err := New(t.TempDir()).LookupPath(t.Context(), filepath.Join(dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	inTime := int64(0)
	for range 500 {
		over, cancel := context.WithDeadline(t.Context(), time.Now())
		conn, _, err := s.Dial(over)
		cancel()
		if err == nil {
			conn.Close()
			inTime++
		}
	}
	eventually(t, "some dials reach the service late", func() bool { return accepted.Load() > inTime })
	eventually(t, "every connection is closed", func() bool { return closed.Load() == accepted.Load() })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happened that %s", what)
		}
	}
}
