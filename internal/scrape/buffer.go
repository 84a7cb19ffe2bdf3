package scrape

import (
	"fmt"
	"sync"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// buffer holds a part of a response: its head, which must fit in one buffer, or its body.
// A scrape gets them one by one as bytes arrive, not as they are announced: announcing
// costs a service nothing.
type buffer [limits.BufferSize]byte

const maxBuffers = limits.MaxBufferedTotal / limits.BufferSize

var (
	bufferPool   = sync.Pool{New: func() any { return new(buffer) }}
	buffersInUse atomic.Int64
)

// getBuffer returns a buffer with any content, for putBuffer to give back. It returns
// ErrBusy if all scrapes together use limits.MaxBufferedTotal.
func getBuffer() (*buffer, error) {
	if buffersInUse.Add(1) > maxBuffers {
		buffersInUse.Add(-1)
		return nil, fmt.Errorf("%w: responses in flight use %d MiB already", ErrBusy, limits.MaxBufferedTotal>>20)
	}
	return bufferPool.Get().(*buffer), nil
}

func putBuffer(b *buffer) {
	buffersInUse.Add(-1)
	bufferPool.Put(b)
}
