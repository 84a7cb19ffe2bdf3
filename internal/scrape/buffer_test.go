package scrape

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// The memory for responses is limited for all scrapes together. It depends on what
// arrives, not on what is announced.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 96 << 20 // what limits.MaxBufferedTotal should be
	c := newClient(t)
	before := buffersInUse.Load()
	var held []*buffer
	for {
		b, err := getBuffer()
		if err != nil {
			if !errors.Is(err, ErrBusy) {
				t.Errorf("error %v, want %v", err, ErrBusy)
			}
			break
		}
		if held = append(held, b); len(held) > limit/len(b) {
			t.Fatalf("%d buffers of %d bytes, which is more than %d bytes", len(held), len(b), limit)
		}
	}
	if got := buffersInUse.Load() * int64(len(buffer{})); got != limit {
		t.Errorf("a limit of %d bytes, want %d", got, limit)
	}
	s := startService(t, t.TempDir(), respond(okResponse("x 1\n")))
	if _, _, err := s.scrape(t, c); !errors.Is(err, ErrBusy) {
		t.Errorf("a scrape at the limit: %v, want %v", err, ErrBusy)
	}
	for _, b := range held {
		putBuffer(b)
	}

	s = startService(t, t.TempDir(), respondAndHang(fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n1", okLine, plainType, limits.MaxBufferedBody)))
	done := make(chan error)
	go func() {
		_, _, err := scrapeSocket(t.Context(), c, s.socket(t), newRequest(t, 200*time.Millisecond))
		done <- err
	}()
	eventually(t, "a buffer in use", func() bool { return buffersInUse.Load() > before })
	if n := buffersInUse.Load() - before; n != 1 {
		t.Errorf("%d buffers for the beginning of a response, want 1", n)
	}
	<-done
	if n := buffersInUse.Load(); n != before {
		t.Errorf("%d buffers in use at the end, %d before", n, before)
	}
}

// A large response needs one buffer, once its buffered beginning has been written. It uses
// a second one only while most are free.
func TestMemoryOfStream(t *testing.T) {
	large := strings.Repeat("x 1\n", limits.MaxBufferedBody/4+limits.BufferSize)
	chunk := func(data string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(data), data) }
	const small = 100_000 // a chunk of this size does not show that the body is large
	for _, tt := range []struct {
		name, response string
		scarce         bool
	}{
		{name: "copied", response: okLine + plainType + "\r\n" + large},
		{name: "copied while buffers are scarce", response: okLine + plainType + "\r\n" + large, scarce: true},
		{name: "spliced", response: okLine + plainType + chunkedCoding + "\r\n" + chunk(large[:small]) + chunk(large[small:2*small]) + chunk(large[2*small:]) + "0\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			for buffersInUse.Load() < maxBuffers/2 && tt.scarce {
				b, _ := getBuffer()
				defer putBuffer(b)
			}
			before := buffersInUse.Load()
			s := startService(t, t.TempDir(), respondAndClose(tt.response))
			t.Cleanup(closePipes)
			resp, err := c.Do(t.Context(), s.socket(t), newRequest(t, 5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Close()
			w := &bufferCounter{}
			if n, err := resp.WriteTo(w); n != int64(len(large)) || err != nil {
				t.Errorf("%d bytes of %d, %v", n, len(large), err)
			}
			if got := w.inUse - before; got != 1 {
				t.Errorf("%d buffers in use at the end of a stream, want 1", got)
			}
			if got := w.most - before; got > 2 || tt.scarce && got != 1 {
				t.Errorf("up to %d buffers in use", got)
			}
		})
	}
}

// bufferCounter counts the buffers in use at the last splice or, if there was none, at the
// last write, and the most at any write but the first.
type bufferCounter struct {
	fakeSplicer
	inUse, most int64
}

func (c *bufferCounter) WriteAll(parts [][]byte) (int64, error) {
	if c.Len() > 0 {
		c.most = max(c.most, buffersInUse.Load())
	}
	if c.spliced == 0 {
		c.inUse = buffersInUse.Load()
	}
	return c.fakeSplicer.WriteAll(parts)
}

func (c *bufferCounter) Splice(pipe, n int) (int64, error) {
	c.inUse = buffersInUse.Load()
	return c.fakeSplicer.Splice(pipe, n)
}
