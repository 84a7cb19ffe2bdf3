package http1

import (
	"context"
	"net"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// Watch returns ctx, that of a request on a connection of Fair or Listen, so that it
// ends soon after the scraper hangs up: net/http sees that only if nothing comes
// before, as the next request does. It costs nothing if stop is called within
// limits.HangUpCheckDelay.
func Watch(ctx context.Context, c net.Conn) (watched context.Context, stop func()) {
	f := fairOf(c)
	if f == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var look *time.Timer
	look = time.AfterFunc(time.Hour, func() { // It may begin when look is set.
		switch {
		case ctx.Err() != nil:
		case hungUp(f.raw):
			cancel()
		default:
			look.Reset(limits.HangUpCheckInterval)
		}
	})
	look.Reset(limits.HangUpCheckDelay)
	return ctx, func() {
		look.Stop()
		cancel()
	}
}
