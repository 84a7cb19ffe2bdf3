package scrape

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// A target that becomes raw at a reload gets a new connection: on one that was kept, its service
// would wait for a request.
func TestRawNeedsNewConnection(t *testing.T) {
	s := &fakeService{dir: t.TempDir()}
	l, err := net.Listen("unix", filepath.Join(s.dir, "svc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		first, err := l.Accept()
		if err != nil {
			return
		}
		defer first.Close()
		first.Read(make([]byte, 4096))
		io.WriteString(first, okResponse("x 1\n"))
		second, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(second, "x 2\n")
		second.Close()
	}()
	c := newClient(t)
	if got, _, err := s.scrape(t, c); got != "x 1\n" || err != nil {
		t.Fatalf("over HTTP: %q, %v", got, err)
	}
	req := newRequest(t, 5*time.Second)
	req.Protocol = Raw
	if got, _, err := scrapeSocket(t.Context(), c, s.socket(t), req); got != "x 2\n" || err != nil {
		t.Errorf("raw: %q, %v", got, err)
	}
}
