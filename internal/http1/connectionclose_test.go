package http1

import (
	"io"
	"net/http"
	"testing"
)

// A response that announces the end of its connection is followed by that end.
func TestConnectionCloseEndsTheConnection(t *testing.T) {
	_, addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "last" {
			w.Header().Set("Connection", "close")
		}
		io.WriteString(w, "x 1\n")
	})
	for name, extra := range map[string]string{"here": "", "over net/http": "Pragma: x\r\n"} {
		c := dial(t, addr)
		for _, query := range []string{"first", "last"} {
			got := c.ask(t, "GET /a?"+query+" HTTP/1.1\r\nHost: h\r\n"+extra+"\r\n")
			if got.err != nil || got.body != "x 1\n" {
				t.Fatalf("%s, %s response: %+v", name, query, got)
			}
		}
		if _, err := c.r.ReadByte(); err != io.EOF {
			t.Errorf("%s: after the last response the client reads %v, want EOF", name, err)
		}
	}
}
