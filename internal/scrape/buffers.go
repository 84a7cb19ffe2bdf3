package scrape

import (
	"fmt"
	"sync"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Buffers for bodies. What is in use is counted and bounded in all; what is not
// is kept for the next scrape, large ones only a few.
var (
	inUse atomic.Int64 // bytes
	small = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}
	large = make(chan []byte, limits.LargeBuffers)
)

// takeBuffer returns an empty buffer.
func takeBuffer() []byte {
	b := (*small.Get().(*[]byte))[:0]
	inUse.Add(int64(cap(b)))
	return b
}

// giveBuffer takes b back.
func giveBuffer(b []byte) {
	inUse.Add(-int64(cap(b)))
	if cap(b) <= limits.LargeBuffer {
		small.Put(&b)
		return
	}
	select {
	case large <- b:
	default:
	}
}

// growBuffer returns b in a buffer with more room, in proportion to what has
// come already and not to what was announced: announcing costs a service
// nothing. It fails with ErrTooMany, and b stays, when all scrapes together hold
// limits.GatherTotal.
func growBuffer(b []byte) ([]byte, error) {
	need := min(2*cap(b), limits.Gather+512)
	larger, ok := keptLarge(need)
	if !ok {
		larger = make([]byte, 0, need)
	}
	if inUse.Add(int64(cap(larger))) > limits.GatherTotal {
		giveBuffer(larger)
		return b, fmt.Errorf("%w: bodies of %d MiB are held already", ErrTooMany, limits.GatherTotal>>20)
	}
	larger = append(larger[:0], b...)
	giveBuffer(b)
	return larger, nil
}

// keptLarge returns a large buffer with room for need bytes, if one is kept.
func keptLarge(need int) ([]byte, bool) {
	if need <= limits.LargeBuffer {
		return nil, false
	}
	select {
	case b := <-large:
		return b, cap(b) >= need
	default:
		return nil, false
	}
}
