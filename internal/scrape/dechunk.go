package scrape

import "tulpa.dev/cadey/aegis/internal/limits"

// dechunker takes the chunked coding (RFC 9112 section 7.1) out of a body, in
// place, from pieces cut anywhere. The zero value is ready for the first.
//
// It is stricter than the RFC asks where a looser reader could see another end, or
// net/http sees none: lines end in CRLF and nothing else, and no space comes before an
// extension.
type dechunker struct {
	state chunkState
	left  int64 // of the chunk's data, or its size as read so far
	count int   // digits of the size
	extra int   // bytes of extensions and trailers so far
}

type chunkState int

const (
	chunkSize chunkState = iota
	chunkSpace
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	lastLF
	afterBody
)

// decode moves the content in b to its front. It returns the content's length
// and how many bytes of b belong to the body: all, but for afterBody.
func (d *dechunker) decode(b []byte) (content, used int, err error) {
	for used < len(b) && d.state != afterBody {
		if d.state == chunkData {
			n := int(min(d.left, int64(len(b)-used)))
			content += copy(b[content:], b[used:used+n])
			used += n
			d.skip(int64(n))
			continue
		}
		if err := d.step(b[used]); err != nil {
			return content, used, err
		}
		used++
	}
	return content, used, nil
}

// skip goes n bytes on in the data of a chunk.
func (d *dechunker) skip(n int64) {
	if d.left -= n; d.left == 0 {
		d.state = chunkDataCR
	}
}

// step reads a byte that is not content.
func (d *dechunker) step(c byte) error {
	switch d.state {
	case chunkSize:
		return d.size(c)
	case chunkSpace, chunkExtension:
		switch {
		case c == '\r' && d.count > 0:
			d.state = chunkSizeLF
			return nil
		case d.state == chunkSpace && c != ' ' && c != '\t', c < ' ' && c != '\t', c == 0x7f:
			return invalid("malformed chunk: %q in its size line", c)
		}
		return d.spend()
	case chunkSizeLF:
		next := chunkData
		if d.left == 0 {
			next = trailerStart
		}
		d.count = 0
		return d.expect(c, '\n', next)
	case chunkDataCR:
		return d.expect(c, '\r', chunkDataLF)
	case chunkDataLF:
		return d.expect(c, '\n', chunkSize)
	case trailerStart:
		if c == '\r' {
			d.state = lastLF
			return nil
		}
		d.state = trailerName
		return d.name(c)
	case trailerName:
		if c == ':' {
			d.state = trailerValue
			return d.spend()
		}
		return d.name(c)
	case trailerValue:
		switch {
		case c == '\r':
			d.state = trailerLF
			return nil
		case c < ' ' && c != '\t', c == 0x7f:
			return invalid("malformed trailer: control characters in it")
		}
		return d.spend()
	case trailerLF:
		return d.expect(c, '\n', trailerStart)
	default:
		return d.expect(c, '\n', afterBody)
	}
}

// size reads a byte of a size line up to its size's end.
func (d *dechunker) size(c byte) error {
	digit := int64(-1)
	switch {
	case '0' <= c && c <= '9':
		digit = int64(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		digit = int64(c|0x20-'a') + 10
	case c == ';' && d.count > 0:
		d.state = chunkExtension
		return d.spend()
	case d.count > 0:
		d.state = chunkSpace
		return d.step(c)
	default:
		return invalid("malformed chunk: %q where its size should be", c)
	}
	const most = 15 // digits, which an int64 holds whatever they are
	if d.count == most {
		return invalid("malformed chunk: its size has more than %d digits", most)
	}
	if d.count == 0 {
		d.left = 0
	}
	d.left = d.left<<4 | digit
	d.count++
	return nil
}

func (d *dechunker) name(c byte) error {
	if !token([]byte{c}) {
		return invalid("malformed trailer: %q in its name", c)
	}
	return d.spend()
}

func (d *dechunker) expect(c, want byte, next chunkState) error {
	if c != want {
		return invalid("malformed chunk: %q where %q should be", c, want)
	}
	d.state = next
	return nil
}

// spend counts a byte that is neither content nor needed.
func (d *dechunker) spend() error {
	if d.extra++; d.extra > limits.MaxChunkExtensionBytes {
		return invalid("its chunk extensions and trailers have more than %d bytes", limits.MaxChunkExtensionBytes)
	}
	return nil
}
