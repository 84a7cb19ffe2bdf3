package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// pieceConn is the connection to a service that sends each piece when the scrape has read
// all before and would wait. So the test says where pieces end, and nobody waits.
type pieceConn struct {
	syscall.RawConn
	peer  int // descriptor of the service's end; -1 once closed
	rest  []byte
	sizes []byte // one for each of the next pieces
	reset bool   // the end is a reset
}

func (p *pieceConn) Read(f func(fd uintptr) (done bool)) error {
	for done := false; ; p.send() {
		if err := p.RawConn.Control(func(fd uintptr) { done = f(fd) }); done || err != nil {
			return err
		}
	}
}

// Control is how a scrape looks for more without waiting. Sometimes it finds more.
func (p *pieceConn) Control(f func(fd uintptr)) error {
	if len(p.sizes)%2 == 1 {
		p.send()
	}
	return p.RawConn.Control(f)
}

// send sends the next piece, of up to 128 bytes or 64 KiB, or ends the connection.
func (p *pieceConn) send() {
	size := limits.BufferSize
	if len(p.sizes) > 0 {
		size = 1 + int(p.sizes[0]&0x7f)
		if p.sizes[0] >= 0x80 {
			size <<= 9
		}
		p.sizes = p.sizes[1:]
	}
	if len(p.rest) == 0 {
		p.end()
		return
	}
	n, _ := unix.Write(p.peer, p.rest[:min(size, len(p.rest))])
	p.rest = p.rest[max(n, 0):]
}

// end sends as much of the rest as fits in the socket's buffer, and ends the connection.
func (p *pieceConn) end() {
	unix.Write(p.peer, p.rest)
	unix.Shutdown(p.peer, unix.SHUT_WR)
	if p.reset {
		p.close()
	}
}

// close closes the service's end. That is a reset, since it has not read the request.
func (p *pieceConn) close() {
	if p.peer >= 0 {
		unix.Close(p.peer)
		p.peer = -1
	}
}

// lines is how every body begins. No two parts of it look the same. It is larger than what
// is buffered by far.
var lines = func() (b []byte) {
	for i := 0; len(b) < limits.MaxBufferedBody+1<<20+2*limits.BufferSize; i++ {
		b = fmt.Appendf(b, "x %d\n", i)
	}
	return b
}()

// How a body ends.
const (
	byLength = iota
	byChunks
	byEOF
	framings
)

// stream builds what a service sends from a few bytes of a fuzzer.
type stream struct {
	framing byte
	payload []byte // what follows the head
	size    int    // of the body
	lie     int    // how much to add to the length, or to the size of the next chunk
	ext     string // extension of the next chunk
	extra   int    // bytes of extensions and trailers so far
	odd     bool   // only net/http can tell whether it is valid

	sent  []byte // including the head
	reset bool   // after sent

	// What a scrape should get, unless odd.
	body     []byte // or the beginning of it
	complete bool
}

// build appends what plan describes to the payload. A step of it has two bytes.
func (s *stream) build(plan []byte) {
	for len(plan) >= 2 {
		step, n := plan[0], 1+int(plan[1])
		plan = plan[2:]
		switch step % 6 {
		case 0:
			s.data(n)
		case 1:
			s.data(n << 8)
		case 2:
			s.data(n << 11)
		case 3:
			s.lie += n - 128
		case 4:
			s.ext = ";" + strings.Repeat("a", n)
		case 5: // the next n bytes of plan themselves
			n = min(n, len(plan))
			s.payload, plan = append(s.payload, plan[:n]...), plan[n:]
			s.odd = s.odd || s.framing != byEOF || s.size == 0
		}
	}
}

// data appends the next n bytes of the body, as one chunk if it is chunked.
func (s *stream) data(n int) {
	data := lines[s.size:min(s.size+n, len(lines))]
	s.size += len(data)
	if s.framing != byChunks {
		s.payload = append(s.payload, data...)
		return
	}
	size := max(0, len(data)+s.lie)
	s.odd = s.odd || size == 0 || size != len(data)
	s.extra += len(s.ext)
	s.payload = fmt.Appendf(s.payload, "%x%s\r\n%s\r\n", size, s.ext, data)
	s.lie, s.ext = 0, ""
}

// finish sets sent to the head, the payload and after, without the last cut bytes.
func (s *stream) finish(after string, cut uint) {
	head := okLine + plainType
	switch s.framing {
	case byLength:
		head += fmt.Sprintf("Content-Length: %d\r\n", max(0, s.size+s.lie))
		s.odd = s.odd || s.lie != 0
	case byChunks:
		head += chunkedCoding
		s.payload = append(s.payload, "0"+s.ext+"\r\nX: y\r\n\r\n"...)
		s.extra += len(s.ext) + len("X: y")
		s.odd = s.odd || s.extra > limits.MaxChunkExtensionBytes
	}
	head += "\r\n"
	s.sent = append(append(append(s.sent, head...), s.payload...), after...)
	missing := int(min(cut, uint(len(s.sent))))
	s.sent = s.sent[:len(s.sent)-missing]

	s.body, s.complete = lines[:s.size], missing <= len(after)
	if s.framing == byEOF {
		s.body = s.sent[min(len(head), len(s.sent)):]
		s.complete = bytes.HasSuffix(s.body, []byte("\n")) && !s.reset
	}
}

// scrapeTo scrapes a service that sends s in pieces of these sizes, and writes the body
// to w.
func (s *stream) scrapeTo(t *testing.T, w io.Writer, sizes []byte) error {
	c, peer := connected(t)
	p := &pieceConn{RawConn: c.raw, peer: peer, rest: s.sent, sizes: sizes, reset: s.reset}
	defer p.close()
	c.raw = p
	pool, path, req := c.pool, c.path, newRequest(t, time.Minute)
	resp, err := newRoundTrip(t.Context(), c, req).do()
	if err != nil {
		return err
	}
	_, err = resp.WriteTo(w)
	resp.Close()

	// What arrives from here on must not become the next response.
	p.end()
	if c := pool.get(path); c != nil {
		pool.sweeper.Stop()
		if _, err := newRoundTrip(t.Context(), c, req).do(); !errors.Is(err, errNoResponse) {
			t.Errorf("another scrape on the same connection: %v, want %v", err, errNoResponse)
		}
	}
	return err
}

// FuzzStream checks that whatever the size of a response, the lengths in it and the pieces
// in which it arrives, a scrape reads what net/http reads from the same bytes, or fails;
// and that it makes no difference whether the body is copied or spliced.
func FuzzStream(f *testing.F) {
	large, small := []byte{2, 199}, []byte{0, 9}
	for _, seed := range []struct {
		framing  byte
		plan     []byte
		followed bool
		cut      uint
		sizes    []byte
		reset    bool
	}{
		{byLength, small, true, 0, []byte{100}, false},
		{byLength, large, true, 0, nil, false},
		{byLength, large, false, 1, []byte{0, 0xff, 0xff, 5}, false},
		{byLength, append([]byte{3, 128}, large...), false, 0, nil, false}, // one byte more than sent
		{byChunks, small, true, 0, []byte{100}, false},
		{byChunks, append(large, large...), true, 0, nil, false},
		{byChunks, bytes.Repeat([]byte{1, 0xff}, 10), true, 0, bytes.Repeat([]byte{0xff, 3}, 20), false},
		{byChunks, append(bytes.Repeat([]byte{1, 20, 4, 20}, 10), large...), false, 0, nil, false}, // extensions
		{byChunks, append(large, 5, 3, '1', '\n', 'x', '\n'), false, 0, nil, false},
		{byChunks, large, false, 2, []byte{7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 9}, false},
		{byEOF, append(large, 5, 0, '\n'), false, 0, nil, false},
		{byEOF, append(large, 5, 0, '\n'), false, 0, bytes.Repeat([]byte{0xff}, 7), true},
		{byEOF, append(large, 5, 0, '\n'), false, 0, bytes.Repeat([]byte{0xff}, 8), true},
		{byLength, large, true, 0, nil, true},
		{byEOF, append(large, large...), false, 0, []byte{0xff, 0xff}, false},
		{byEOF, small, true, 0, nil, false},
	} {
		f.Add(seed.framing, seed.plan, seed.followed, seed.cut, seed.sizes, seed.reset)
	}
	// These are reused: allocating them would take most of the time.
	var payload, sent []byte
	var want, copied bytes.Buffer
	var spliced fakeSplicer
	f.Fuzz(func(t *testing.T, framing byte, plan []byte, followed bool, cut uint, sizes []byte, reset bool) {
		if len(plan)+len(sizes) > 100 {
			return // More finds nothing new, and minimizing it takes the fuzzer minutes.
		}
		s := stream{framing: framing % framings, payload: payload[:0], sent: sent[:0], reset: reset}
		s.build(plan)
		after := ""
		if followed {
			after = okResponse("evil 1\n")
		}
		s.finish(after, cut)
		payload, sent = s.payload, s.sent
		want.Reset()
		copied.Reset()
		spliced.Reset()
		spliced.expected = 0

		before := buffersInUse.Load()
		err := s.scrapeTo(t, &copied, sizes)
		spliceErr := s.scrapeTo(t, &spliced, sizes)
		if n := buffersInUse.Load(); n != before {
			t.Errorf("%d buffers in use, %d before", n, before)
		}
		if fmt.Sprint(err) != fmt.Sprint(spliceErr) {
			t.Errorf("copied: %v; spliced: %v", err, spliceErr)
		}
		if !s.odd && s.complete != (err == nil) {
			t.Errorf("complete: %v, error: %v", s.complete, err)
		}
		if err == nil {
			if err := readWithNetHTTP(&want, s.sent); err != nil {
				t.Errorf("no error, but net/http has %v", err)
			}
		}
		for how, got := range map[string][]byte{"copied": copied.Bytes(), "spliced": spliced.Bytes()} {
			if err == nil && !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%s: %d bytes differ from the %d bytes that net/http reads", how, len(got), want.Len())
			}
			if !s.odd && !bytes.HasPrefix(s.body, got) {
				t.Errorf("%s: %d bytes that are not the beginning of the body", how, len(got))
			}
		}
	})
}
