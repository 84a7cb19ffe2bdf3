package http1_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// A handler learns that its client has hung up, also after requests that were slow enough
// for the client to be watched.
func TestHangUp(t *testing.T) {
	for name, request := range map[string]string{"http1": fastRequest, "net/http": slowRequest} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error)
			addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-r.Context().Done():
					ended <- r.Context().Err()
				case <-time.After(2 * limits.HangUpCheckDelay):
					if r.URL.Path == "/wait" {
						<-r.Context().Done()
						ended <- r.Context().Err()
					}
				}
			})
			for range 2 {
				c := dial(t, addr)
				for range 2 {
					if got := c.send(request); got.err != nil {
						t.Fatal(got.err)
					}
				}
				io.WriteString(c, strings.Replace(request, "/a", "/wait", 1))
				c.Close()
				select {
				case err := <-ended:
					if !errors.Is(err, context.Canceled) {
						t.Errorf("the context ended with %v", err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("the hang-up was not noticed")
				}
			}
		})
	}
}

// The context of a request works as any other: a second function of it runs too, and a
// context made from it can end earlier.
func TestContextOfARequest(t *testing.T) {
	ended := make(chan struct{})
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		first, stopFirst := context.WithCancel(r.Context())
		defer stopFirst()
		second, stopSecond := context.WithCancel(r.Context())
		stopSecond()
		<-second.Done()
		third, stopThird := context.WithCancel(r.Context())
		defer stopThird()
		<-first.Done()
		<-third.Done()
		close(ended)
	})
	c := dial(t, addr)
	io.WriteString(c, fastRequest)
	time.Sleep(2 * limits.HangUpCheckDelay)
	c.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("a context did not end with its parent")
	}
}

// A request leaves nothing behind for the next on its connection.
func TestRequestsAreIndependent(t *testing.T) {
	c := dial(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-"+r.FormValue("x"), "y")
		if r.FormValue("x") == "1" {
			w.WriteHeader(http.StatusTeapot)
		}
		io.WriteString(w, r.FormValue("x")+r.Header.Get("Accept"))
	}))
	for _, x := range []string{"1", "2", ""} {
		header := map[string]string{"1": "Accept: only the first\r\n"}[x]
		got := c.send("GET /a?x=" + x + " HTTP/1.1\r\nHost: h\r\n" + header + "\r\n")
		want := map[string]string{"1": "1only the first", "2": "2", "": ""}[x]
		if got.body != want || (got.status == http.StatusTeapot) != (x == "1") || (got.header["X-1"] != nil) != (x == "1") {
			t.Errorf("response to %q: %+v", x, got)
		}
	}
}

// Requests that arrive while another is served are served in turn.
func TestPipelining(t *testing.T) {
	c := dial(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * limits.HangUpCheckDelay)
		io.WriteString(w, r.URL.Path)
	}))
	io.WriteString(c, fastRequest)
	time.Sleep(limits.HangUpCheckDelay * 3 / 2)
	io.WriteString(c, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
	io.WriteString(c, "GET /c HTTP/1.1\r\nHost: h\r\n\r\n")
	for _, want := range []string{"/a", "/b", "/c"} {
		if got := c.send(""); got.body != want {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}
