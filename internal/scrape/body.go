package scrape

import (
	"bytes"
	"math"
	"strconv"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// bodyDecoder finds the end of a body (RFC 9112 section 6.3) and removes the chunked coding
// (section 7.1) from it, in place. It gets the body in pieces of any size.
//
// It is stricter than the RFC where a looser parser could see another end of the body, or
// net/http sees none: each line of the coding ends in CRLF, and no space precedes an extension.
type bodyDecoder struct {
	state     bodyState
	chunked   bool
	untilEOF  bool   // the body ends with the connection
	remaining int64  // bytes of the body or, if it is chunked, of the chunk
	line      []byte // what has arrived of a line of the coding
	overhead  int    // bytes of extensions and trailers so far
}

type bodyState int

const (
	chunkSize bodyState = iota
	bodyData
	chunkEnd
	trailers
	afterBody
)

// newBodyDecoder returns a decoder for the body that follows h.
func newBodyDecoder(h responseHead) bodyDecoder {
	switch {
	case h.chunked:
		return bodyDecoder{chunked: true}
	case h.length < 0:
		return bodyDecoder{state: bodyData, untilEOF: true, remaining: math.MaxInt64}
	case h.length == 0:
		return bodyDecoder{state: afterBody}
	}
	return bodyDecoder{state: bodyData, remaining: h.length}
}

// decode gets the next bytes of the body and moves the content in them to the front of b. It
// returns the length of the content and how many bytes of b belong to the body: all, unless
// its end is among them.
func (d *bodyDecoder) decode(b []byte) (content, used int, err error) {
	for used < len(b) && d.state != afterBody {
		if d.state != bodyData {
			n, err := d.decodeLine(b[used:])
			used += n
			if err != nil {
				return content, used, err
			}
			continue
		}
		n := int(min(d.remaining, int64(len(b)-used)))
		if content < used {
			copy(b[content:], b[used:used+n])
		}
		content, used = content+n, used+n
		d.skip(int64(n))
	}
	return content, used, nil
}

// done reports whether the body has ended.
func (d *bodyDecoder) done() bool { return d.state == afterBody }

// knownRemaining returns how many of the next bytes are known to be content.
func (d *bodyDecoder) knownRemaining() int64 {
	if d.state != bodyData || d.untilEOF {
		return 0
	}
	return d.remaining
}

// skip skips n bytes of content.
func (d *bodyDecoder) skip(n int64) {
	if d.remaining -= n; d.remaining > 0 {
		return
	}
	d.state = afterBody
	if d.chunked {
		d.state = chunkEnd
	}
}

const (
	maxLengthBits = 60 // so that sums of lengths cannot overflow
	maxSizeDigits = maxLengthBits / 4
)

// decodeLine parses the next line of the chunked coding, once its end is in b. It returns how
// many bytes of b are part of that line.
func (d *bodyDecoder) decodeLine(b []byte) (used int, err error) {
	used = bytes.IndexByte(b, '\n') + 1
	if used > 0 && len(d.line) == 0 {
		return used, d.parseLine(b[:used])
	}
	complete := used > 0
	if !complete {
		used = len(b)
	}
	if n := len(d.line) + used; n > maxSizeDigits+limits.MaxChunkExtensionBytes+len("\r\n") {
		return used, d.countOverhead(n)
	}
	d.line = append(d.line, b[:used]...)
	if complete {
		err = d.parseLine(d.line)
		d.line = d.line[:0]
	}
	return used, err
}

// parseLine parses a complete line of the chunked coding.
func (d *bodyDecoder) parseLine(line []byte) error {
	end := len(line) - len("\r\n")
	if end < 0 || line[end] != '\r' {
		return invalidf("malformed chunk: its line %.40q does not end in CRLF", line)
	}
	line = line[:end]
	switch {
	case d.state == chunkSize:
		return d.parseSize(line)
	case d.state == trailers && len(line) > 0:
		if _, _, ok := cutField(line); !ok {
			return invalidf("malformed trailer: %.80q", line)
		}
		return d.countOverhead(len(line))
	case d.state == trailers:
		d.state = afterBody
	case len(line) > 0:
		return invalidf("malformed chunk: %.40q where its data should end", line)
	default:
		d.state = chunkSize
	}
	return nil
}

// parseSize parses the line that precedes the data of a chunk.
func (d *bodyDecoder) parseSize(line []byte) error {
	size, extension, found := bytes.Cut(line, []byte(";"))
	for n := len(size) - 1; !found && n >= 0 && (size[n] == ' ' || size[n] == '\t'); n-- {
		size = size[:n]
	}
	n, err := strconv.ParseUint(string(size), 16, maxLengthBits)
	if err != nil || len(size) > maxSizeDigits || !isFieldText(extension) {
		return invalidf("malformed chunk: its size line is %.40q", line)
	}
	d.remaining, d.state = int64(n), bodyData
	if n == 0 {
		d.state = trailers
	}
	return d.countOverhead(len(line) - len(size))
}

// countOverhead counts n bytes of an extension or trailer.
func (d *bodyDecoder) countOverhead(n int) error {
	if d.overhead += n; d.overhead > limits.MaxChunkExtensionBytes {
		return invalidf("its chunk extensions and trailers are larger than %d bytes", limits.MaxChunkExtensionBytes)
	}
	return nil
}
