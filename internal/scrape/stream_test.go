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

// feed is the connection to a service whose next piece comes when all before it is
// read, and the scrape would wait. So pieces end where a test says, and nobody waits.
type feed struct {
	syscall.RawConn
	service int // the other end
	rest    []byte
	cuts    []byte // one for each of the next pieces
	reset   bool   // the end is a reset
}

func (f *feed) Read(try func(fd uintptr) (done bool)) error {
	for done := false; ; f.send() {
		if err := f.RawConn.Control(func(fd uintptr) { done = try(fd) }); done || err != nil {
			return err
		}
	}
}

// Control is called to see whether more has come: now and then it has.
func (f *feed) Control(look func(fd uintptr)) error {
	if len(f.cuts)%2 == 1 {
		f.send()
	}
	return f.RawConn.Control(look)
}

// send sends the next piece, of up to 128 bytes or 64 KiB, or the end.
func (f *feed) send() {
	size := limits.BufferSize
	if len(f.cuts) > 0 {
		size = 1 + int(f.cuts[0]&0x7f)
		if f.cuts[0] >= 0x80 {
			size <<= 9
		}
		f.cuts = f.cuts[1:]
	}
	if len(f.rest) == 0 {
		f.end()
		return
	}
	n, _ := unix.Write(f.service, f.rest[:min(size, len(f.rest))])
	f.rest = f.rest[max(n, 0):]
}

// end sends what is left, as far as it can, and the end.
func (f *feed) end() {
	unix.Write(f.service, f.rest)
	unix.Shutdown(f.service, unix.SHUT_WR)
	if f.reset {
		f.close()
	}
}

// close closes the service's end: a reset, since it never reads the request.
func (f *feed) close() {
	if f.service >= 0 {
		unix.Close(f.service)
		f.service = -1
	}
}

// lines is what every body begins with: no two places in it look the same. It is
// larger than what is gathered and what is moved at once together.
var lines = func() (b []byte) {
	for i := 0; len(b) < limits.MaxBufferedBody+limits.MaxSpliceSize+2*limits.BufferSize; i++ {
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

// stream is what a service sends, made of a fuzzer's few bytes.
type stream struct {
	framing byte
	payload []byte // behind the head
	size    int    // of the body
	lie     int    // by which the length, or that of the next chunk, is false
	ext     string // of the next chunk
	extra   int    // bytes of extensions and trailers so far
	odd     bool   // what becomes of it is for net/http to say

	sent  []byte // the head, too
	reset bool   // after it
	body  []byte // that it begins with, unless it is odd
	whole bool   // unless it is odd
}

// follow adds what plan says to the payload. Two bytes are a step.
func (s *stream) follow(plan []byte) {
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
		case 5: // Anything, for as long as there are bytes.
			n = min(n, len(plan))
			s.payload, plan = append(s.payload, plan[:n]...), plan[n:]
			s.odd = s.odd || s.framing != byEOF || s.size == 0
		}
	}
}

// data adds the next n bytes of the body: a chunk, where there are chunks.
func (s *stream) data(n int) {
	data := lines[s.size:min(s.size+n, len(lines))]
	s.size += len(data)
	if s.framing != byChunks {
		s.payload = append(s.payload, data...)
		return
	}
	said := max(0, len(data)+s.lie)
	s.odd = s.odd || said == 0 || said != len(data)
	s.extra += len(s.ext)
	s.payload = fmt.Appendf(s.payload, "%x%s\r\n%s\r\n", said, s.ext, data)
	s.lie, s.ext = 0, ""
}

// finish makes of the payload what is sent. At its end are after, and then missing cut
// bytes.
func (s *stream) finish(after string, cut uint) {
	head := ok + plain
	switch s.framing {
	case byLength:
		head += fmt.Sprintf("Content-Length: %d\r\n", max(0, s.size+s.lie))
		s.odd = s.odd || s.lie != 0
	case byChunks:
		head += chunked
		s.payload = append(s.payload, "0"+s.ext+"\r\nX: y\r\n\r\n"...)
		s.extra += len(s.ext) + len("X: y")
		s.odd = s.odd || s.extra > limits.MaxChunkExtensionBytes
	}
	head += "\r\n"
	s.sent = append(append(append(s.sent, head...), s.payload...), after...)
	missing := int(min(cut, uint(len(s.sent))))
	s.sent = s.sent[:len(s.sent)-missing]

	s.body, s.whole = lines[:s.size], missing <= len(after)
	if s.framing == byEOF {
		s.body = s.sent[min(len(head), len(s.sent)):]
		s.whole = bytes.HasSuffix(s.body, []byte("\n")) && !s.reset
	}
}

// scrapeTo has what is sent come in pieces, and the body of it written to w.
func (s *stream) scrapeTo(t *testing.T, w io.Writer, cuts []byte) error {
	ours, theirs := connected(t)
	f := &feed{RawConn: ours.raw, service: theirs, rest: s.sent, cuts: cuts, reset: s.reset}
	defer f.close()
	ours.raw = f
	p, id, req := new(pool), ours.id, scraper(t, "", time.Minute)
	service, _, _ := p.admit(id)
	a, err := newExchange(t.Context(), ours, req).scrape()
	if err != nil {
		return err
	}
	a.pool, a.service = p, service
	_, err = a.WriteTo(w)
	a.Close()

	// Whatever comes now is nobody's answer, nor is the end.
	f.end()
	if _, kept, _ := p.admit(id); kept != nil {
		p.sweeper.Stop()
		if _, err := newExchange(t.Context(), kept, req).scrape(); !errors.Is(err, errUnanswered) {
			t.Errorf("a scrape on the connection of one that is over: %v, want %v", err, errUnanswered)
		}
	}
	return err
}

// However large an answer is, whatever it says of its size and wherever its pieces
// end: it is what net/http reads from the same bytes, or it fails; and so it is for
// the scraper that it is copied to as for the one that the kernel moves it to.
func FuzzStream(f *testing.F) {
	large, small := []byte{2, 199}, []byte{0, 9}
	for _, seed := range []struct {
		framing  byte
		plan     []byte
		followed bool
		cut      uint
		cuts     []byte
		reset    bool
	}{
		{byLength, small, true, 0, []byte{100}, false},
		{byLength, large, true, 0, nil, false},
		{byLength, large, false, 1, []byte{0, 0xff, 0xff, 5}, false},
		{byLength, append([]byte{3, 128}, large...), false, 0, nil, false}, // It says a byte more.
		{byChunks, small, true, 0, []byte{100}, false},
		{byChunks, append(large, large...), true, 0, nil, false},
		{byChunks, bytes.Repeat([]byte{1, 0xff}, 10), true, 0, bytes.Repeat([]byte{0xff, 3}, 20), false},
		{byChunks, append(bytes.Repeat([]byte{1, 20, 4, 20}, 10), large...), false, 0, nil, false}, // Extensions.
		{byChunks, append(large, 5, 3, '1', '\n', 'x', '\n'), false, 0, nil, false},
		{byChunks, large, false, 2, []byte{7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 9}, false},
		{byEOF, append(large, 5, 0, '\n'), false, 0, nil, false},
		{byEOF, append(large, 5, 0, '\n'), false, 0, bytes.Repeat([]byte{0xff}, 7), true},
		{byEOF, append(large, 5, 0, '\n'), false, 0, bytes.Repeat([]byte{0xff}, 8), true},
		{byLength, large, true, 0, nil, true},
		{byEOF, append(large, large...), false, 0, []byte{0xff, 0xff}, false},
		{byEOF, small, true, 0, nil, false},
	} {
		f.Add(seed.framing, seed.plan, seed.followed, seed.cut, seed.cuts, seed.reset)
	}
	// To be used again: most of the time would go to memory.
	var payload, sent []byte
	var want, copied bytes.Buffer
	var moved spliced
	f.Fuzz(func(t *testing.T, framing byte, plan []byte, followed bool, cut uint, cuts []byte, reset bool) {
		if len(plan)+len(cuts) > 100 {
			return // Nothing new, and the fuzzer takes minutes to make it smaller.
		}
		s := stream{framing: framing % framings, payload: payload[:0], sent: sent[:0], reset: reset}
		s.follow(plan)
		after := ""
		if followed {
			after = answer("evil 1\n")
		}
		s.finish(after, cut)
		payload, sent = s.payload, s.sent
		want.Reset()
		copied.Reset()
		moved.Reset()
		moved.left = 0

		before := blocksInUse.Load()
		err := s.scrapeTo(t, &copied, cuts)
		errMoved := s.scrapeTo(t, &moved, cuts)
		if n := blocksInUse.Load(); n != before {
			t.Errorf("%d blocks are in use, %d were before", n, before)
		}
		if fmt.Sprint(err) != fmt.Sprint(errMoved) {
			t.Errorf("copied: %v; moved: %v", err, errMoved)
		}
		if !s.odd && s.whole != (err == nil) {
			t.Errorf("%v; that it is whole is %v", err, s.whole)
		}
		if err == nil {
			if err := asNetHTTP(&want, s.sent); err != nil {
				t.Errorf("whole, but net/http says %v", err)
			}
		}
		for how, got := range map[string][]byte{"copied": copied.Bytes(), "moved": moved.Bytes()} {
			if err == nil && !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%s: %d bytes, and net/http has %d, or others", how, len(got), want.Len())
			}
			if !s.odd && !bytes.HasPrefix(s.body, got) {
				t.Errorf("%s: %d bytes, and not how the body begins", how, len(got))
			}
		}
	})
}
