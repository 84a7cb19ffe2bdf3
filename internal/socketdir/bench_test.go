package socketdir

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// benchmarkSocket returns a directory, the listener of its socket svc, and a context like
// that of a scrape.
func benchmarkSocket(b *testing.B) (Dir, net.Listener, context.Context) {
	b.Helper()
	d := New(b.TempDir())
	l, err := net.Listen("unix", filepath.Join(d.String(), "svc"+Suffix))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	b.ReportAllocs()
	return d, l, withDeadline(b.Context(), time.Hour)
}

func BenchmarkLookup(b *testing.B) {
	d, _, ctx := benchmarkSocket(b)
	for b.Loop() {
		if _, err := find(ctx, d, "svc"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLookupAndDial includes accepting the connection, so that the backlog stays
// empty.
func BenchmarkLookupAndDial(b *testing.B) {
	d, l, ctx := benchmarkSocket(b)
	for b.Loop() {
		s, err := find(ctx, d, "svc")
		if err != nil {
			b.Fatal(err)
		}
		c, _, err := s.Dial(ctx)
		if err != nil {
			b.Fatal(err)
		}
		peer, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
		peer.Close()
	}
}
