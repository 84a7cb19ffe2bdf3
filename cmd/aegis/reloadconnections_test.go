package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A reload closes the idle connections to sockets that are gone, whose services may wait for
// that to stop, and no other connection.
func TestReloadClosesConnectionsToSocketsThatAreGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gone, there := newKeptService(t, dir, "gone"), newKeptService(t, dir, "there")
	p := start(t, "aegis", "aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
	addr := p.awaitOutput(t, `msg=serving address=(\S+)`)
	scrape := func(name string) {
		t.Helper()
		if got := fetchWith(t, http.DefaultClient, "http://"+addr+"/"+name); got != "200 x 1\n" {
			t.Fatalf("GET /%s: %q", name, got)
		}
	}
	scrape("gone")
	scrape("there")
	if err := os.Remove(filepath.Join(dir, "gone.sock")); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Signal(syscall.SIGHUP)
	p.awaitOutput(t, `(msg=reloaded)`)
	select {
	case err := <-gone.ended:
		if err != io.EOF {
			t.Errorf("the service whose socket is gone reads %v, want EOF", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the connection to the socket that is gone is still open")
	}
	scrape("there")
	if n := there.accepted.Load(); n != 1 {
		t.Errorf("%d connections to the socket that is still there, want the one from before the reload", n)
	}
}

// keptService is a service that keeps its connections open, whatever becomes of its socket.
type keptService struct {
	accepted atomic.Int32
	ended    chan error // why a connection ended
}

func newKeptService(t *testing.T, dir, name string) *keptService {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
	s := &keptService{ended: make(chan error, 10)}
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.accepted.Add(1)
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(r); err != nil {
						s.ended <- err
						return
					}
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nx 1\n")
				}
			}()
		}
	}()
	return s
}
