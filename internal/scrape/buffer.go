package scrape

import (
	"fmt"
	"sync"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// block is memory into which an answer is read: its head, which must fit in
// one, and its body. A scrape takes them one by one as bytes come, not as they
// are announced: announcing costs a service nothing.
type block [limits.BufferSize]byte

var (
	blocks      = sync.Pool{New: func() any { return new(block) }}
	blocksInUse atomic.Int64
)

// takeBlock returns a block, of any content. It fails with ErrTooMany when all
// scrapes together hold limits.MaxBufferedTotal.
func takeBlock() (*block, error) {
	if blocksInUse.Add(1) > limits.MaxBufferedTotal/limits.BufferSize {
		blocksInUse.Add(-1)
		return nil, fmt.Errorf("%w: answers of %d MiB are held already", ErrTooMany, limits.MaxBufferedTotal>>20)
	}
	return blocks.Get().(*block), nil
}

// takeSpare is takeBlock, for who can do without: nil where half of all are in use.
func takeSpare() *block {
	if blocksInUse.Load() >= limits.MaxBufferedTotal/limits.BufferSize/2 {
		return nil
	}
	b, _ := takeBlock()
	return b
}

func giveBlock(b *block) {
	blocksInUse.Add(-1)
	blocks.Put(b)
}
