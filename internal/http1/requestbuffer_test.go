package http1

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A request of up to 4 KiB is served here. A larger one does not fit in the buffer, and
// net/http serves it.
func TestRequestBufferSize(t *testing.T) {
	_, addr := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x 1\n") })
	for size, here := range map[int]bool{
		1 << 10:   true,
		4<<10 - 1: true,
		4 << 10:   true,
		4<<10 + 1: false,
		8 << 10:   false,
	} {
		const begin, end = "GET /a HTTP/1.1\r\nHost: h\r\nX-Pad: ", "\r\n\r\n"
		request := begin + strings.Repeat("a", size-len(begin+end)) + end
		got := dial(t, addr).ask(t, request)
		if got.err != nil || got.body != "x 1\n" {
			t.Errorf("%d bytes: %+v", size, got)
		}
		if served := got.header.Get("X-Net-Http") == ""; served != here {
			t.Errorf("%d bytes are served here: %v, want %v", size, served, here)
		}
	}
}
