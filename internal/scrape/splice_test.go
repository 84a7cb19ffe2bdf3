package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// spliced is a scraper that takes what it can from pipes.
type spliced struct {
	bytes.Buffer
	left  int64 // to be expected
	fails bool
	pipes int64 // bytes out of them
}

func (s *spliced) Write(b []byte) (int, error) {
	if s.left > 0 {
		return 0, errors.New("less than was announced")
	}
	return s.Buffer.Write(b)
}

// WriteAll makes it take parts together, as scrapers do.
func (s *spliced) WriteAll(parts [][]byte) (written int64, err error) {
	n, err := s.Write(bytes.Join(parts, nil))
	return int64(n), err
}

func (s *spliced) Expect(n int64) error {
	if s.left > 0 {
		return errors.New("less than was announced")
	}
	s.left = n
	return nil
}

func (s *spliced) Splice(pipe, n int) (int64, error) {
	if s.left -= int64(n); s.left < 0 {
		return 0, errors.New("more than was announced")
	}
	if s.fails {
		return 0, errors.New("broken")
	}
	s.Grow(n)
	b := s.AvailableBuffer()[:n]
	got, err := unix.Read(pipe, b)
	s.Buffer.Write(b[:max(got, 0)])
	s.pipes += int64(got)
	return int64(got), err
}

func TestSplice(t *testing.T) {
	body := strings.Repeat("x 1\n", 750_000)
	length := ok + plain + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
	chunk := ok + plain + chunked + fmt.Sprintf("\r\n%x\r\n", len(body)) + body + "\r\n0\r\n\r\n"
	for _, tt := range []struct {
		name, response string
		fails, noPipe  bool
		err            error
	}{
		{name: "a length", response: length},
		{name: "a chunk", response: chunk},
		{name: "a length, without a pipe", response: length, noPipe: true},
		{name: "a chunk, without a pipe", response: chunk, noPipe: true},
		{name: "a broken length", response: length[:len(length)-1], err: ErrTruncated},
		{name: "a broken chunk", response: chunk[:len(chunk)-8], err: ErrTruncated},
		{name: "a chunk with more in it", response: strings.Replace(chunk, "\r\n0\r\n", "x\r\n0\r\n", 1), err: ErrInvalid},
		{name: "a broken scraper", response: length, fails: true, err: ErrCanceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			t.Cleanup(closePipes)
			p := listen(t, t.TempDir(), saysAndCloses(tt.response))
			a, err := c.Get(t.Context(), p.socket(t), scraper(t, "", 5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if tt.noPipe {
				closePipes()
				allowNoDescriptor(t)
			}
			w := &spliced{fails: tt.fails}
			n, err := a.WriteTo(w)
			switch {
			case !errors.Is(err, tt.err) || tt.err == nil && w.String() != body:
				t.Errorf("%d bytes, %v; want %d, %v", w.Len(), err, len(body), tt.err)
			case n != int64(w.Len()):
				t.Errorf("%d bytes were written, it says %d", w.Len(), n)
			case tt.noPipe != (w.pipes == 0) && !tt.fails:
				t.Errorf("%d bytes came through a pipe", w.pipes)
			}
			if empty := len(pipes); empty > 0 && tt.fails {
				t.Errorf("%d pipes are kept with bytes of this body in them", empty)
			}
		})
	}
}

// Pipes are used again, and few are kept.
func TestPipesAreBounded(t *testing.T) {
	closePipes()
	before := descriptors(t)
	var held []pipe
	for range 2 * limits.MaxIdlePipes {
		p, err := takePipe()
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, p)
	}
	for _, p := range held {
		p.give(true)
	}
	if n := descriptors(t) - before; n != 2*limits.MaxIdlePipes {
		t.Errorf("%d descriptors are kept, want %d", n, 2*limits.MaxIdlePipes)
	}
	p, err := takePipe()
	if err != nil || len(pipes) != limits.MaxIdlePipes-1 {
		t.Errorf("%d are kept when one is taken, %v", len(pipes), err)
	}
	p.give(false)
	closePipes()
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

func closePipes() {
	for len(pipes) > 0 {
		p := <-pipes
		unix.Close(p.in)
		unix.Close(p.out)
	}
}

// allowNoDescriptor lets the test open no more files.
func allowNoDescriptor(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &was) })
	if _, err := takePipe(); !errors.Is(err, unix.EMFILE) {
		t.Fatalf("a pipe is to be had: %v", err)
	}
}
