package http1

import (
	"container/list"
	"sync"
	"sync/atomic"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// takers are the connections whose scrapers have an answer to take, in the order in
// which that began. There are at most limits.MaxUndrained. One more ends the wait for the
// first: over any network a scraper that reads has taken its answer long before that,
// and who does not read is who came before all others.
type takers struct {
	mu    sync.Mutex
	order list.List // of *taker
}

type taker struct{ over atomic.Bool }

// enter makes a place for one more.
func (t *takers) enter() *list.Element {
	t.mu.Lock()
	defer t.mu.Unlock()
	place := t.order.PushBack(new(taker))
	if t.order.Len() > limits.MaxUndrained {
		t.order.Remove(t.order.Front()).(*taker).over.Store(true)
	}
	return place
}

func (t *takers) leave(place *list.Element) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.order.Remove(place)
}

func (t *takers) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.order.Len()
}
