package scrape

// framing finds the end of a body (RFC 9112 section 6.3).
type framing struct {
	chunked bool
	left    int64 // of a body of known length; negative where its end is the connection's
	chunks  dechunker
	done    bool
}

func newFraming(h head) framing {
	return framing{chunked: h.chunked, left: h.length, done: h.length == 0}
}

// take is given the bytes of the body that come next and moves what is content
// to the front of b. It returns how many bytes of content there are and how many
// are left over: they come after the end of the body.
func (f *framing) take(b []byte) (content, over int, err error) {
	switch {
	case f.done:
		return 0, len(b), nil
	case f.chunked:
		content, used, err := f.chunks.decode(b)
		f.done = f.chunks.state == afterBody
		return content, len(b) - used, err
	case f.left < 0:
		return len(b), 0, nil
	}
	content = int(min(int64(len(b)), f.left))
	f.left -= int64(content)
	f.done = f.left == 0
	return content, len(b) - content, nil
}

// ahead returns how many bytes come next that are content for certain: what is left
// of a body of known length, or of a chunk.
func (f *framing) ahead() int64 {
	switch {
	case !f.chunked:
		return max(f.left, 0)
	case f.chunks.state == chunkData:
		return f.chunks.left
	}
	return 0
}

// skip is told that n bytes of those ahead went another way.
func (f *framing) skip(n int64) {
	if f.chunked {
		f.chunks.skip(n)
		return
	}
	f.left -= n
	f.done = f.left == 0
}

// untilEOF reports whether the end of the connection is the body's.
func (f *framing) untilEOF() bool { return !f.chunked && f.left < 0 }
