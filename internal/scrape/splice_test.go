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

// fakeSplicer is a scraper's connection that is a Splicer.
type fakeSplicer struct {
	bytes.Buffer
	expected int64 // bytes still to come from Splice
	fails    bool
	spliced  int64 // bytes read from pipes
}

func (s *fakeSplicer) Write(b []byte) (int, error) {
	if s.expected > 0 {
		return 0, errors.New("fewer bytes spliced than announced")
	}
	return s.Buffer.Write(b)
}

func (s *fakeSplicer) WriteAll(parts [][]byte) (written int64, err error) {
	n, err := s.Write(bytes.Join(parts, nil))
	return int64(n), err
}

func (s *fakeSplicer) Expect(n int64) error {
	if s.expected > 0 {
		return errors.New("fewer bytes spliced than announced")
	}
	s.expected = n
	return nil
}

func (s *fakeSplicer) Splice(pipe, n int) (int64, error) {
	if s.expected -= int64(n); s.expected < 0 {
		return 0, errors.New("more bytes spliced than announced")
	}
	if s.fails {
		return 0, errors.New("broken")
	}
	s.Grow(n)
	b := s.AvailableBuffer()[:n]
	got, err := unix.Read(pipe, b)
	s.Buffer.Write(b[:max(got, 0)])
	s.spliced += int64(got)
	return int64(got), err
}

func TestSplice(t *testing.T) {
	body := strings.Repeat("x 1\n", 750_000)
	length := okResponse(body)
	chunk := okLine + plainType + chunkedCoding + fmt.Sprintf("\r\n%x\r\n", len(body)) + body + "\r\n0\r\n\r\n"
	for _, tt := range []struct {
		name, response string
		fails, noPipe  bool
		err            error
	}{
		{name: "length", response: length},
		{name: "chunk", response: chunk},
		{name: "length, no pipe", response: length, noPipe: true},
		{name: "chunk, no pipe", response: chunk, noPipe: true},
		{name: "truncated length", response: length[:len(length)-1], err: ErrTruncated},
		{name: "truncated chunk", response: chunk[:len(chunk)-8], err: ErrTruncated},
		{name: "chunk longer than its size", response: strings.Replace(chunk, "\r\n0\r\n", "x\r\n0\r\n", 1), err: ErrInvalid},
		{name: "scraper disconnects", response: length, fails: true, err: ErrCanceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			t.Cleanup(closePipes)
			s := startService(t, t.TempDir(), respondAndClose(tt.response))
			resp, err := c.Do(t.Context(), s.socket(t), newRequest(t, 5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Close()
			if tt.noPipe {
				closePipes()
				allowNoDescriptor(t)
			}
			w := &fakeSplicer{fails: tt.fails}
			n, err := resp.WriteTo(w)
			switch {
			case !errors.Is(err, tt.err) || tt.err == nil && w.String() != body:
				t.Errorf("%d bytes, %v; want %d, %v", w.Len(), err, len(body), tt.err)
			case n != int64(w.Len()):
				t.Errorf("WriteTo returned %d, but wrote %d bytes", n, w.Len())
			case tt.noPipe != (w.spliced == 0) && !tt.fails:
				t.Errorf("%d bytes came from a pipe", w.spliced)
			}
			if n := len(idlePipes); n > 0 && tt.fails {
				t.Errorf("%d pipes with bytes of this body in them are kept", n)
			}
		})
	}
}

// Pipes are reused, and at most limits.MaxIdlePipes are kept.
func TestIdlePipesAreBounded(t *testing.T) {
	closePipes()
	before := descriptors(t)
	var held []pipe
	for range 2 * limits.MaxIdlePipes {
		p, err := getPipe()
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, p)
	}
	for _, p := range held {
		p.release(true)
	}
	if n := descriptors(t) - before; n != 2*limits.MaxIdlePipes {
		t.Errorf("%d descriptors are kept, want %d", n, 2*limits.MaxIdlePipes)
	}
	p, err := getPipe()
	if err != nil || len(idlePipes) != limits.MaxIdlePipes-1 {
		t.Errorf("%d pipes are idle while one is in use, %v", len(idlePipes), err)
	}
	p.release(false)
	closePipes()
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

func closePipes() {
	for len(idlePipes) > 0 {
		p := <-idlePipes
		p.close()
	}
}

// allowNoDescriptor keeps the process from opening files until the end of the test.
func allowNoDescriptor(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &before) })
	if _, err := getPipe(); !errors.Is(err, unix.EMFILE) {
		t.Fatalf("getPipe: %v, want %v", err, unix.EMFILE)
	}
}
