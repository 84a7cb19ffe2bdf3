package web

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
	"tulpa.dev/cadey/aegis/internal/target"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// row returns the text of the page's row of a target.
func (a *aegis) row(name string) string {
	a.t.Helper()
	_, row, ok := strings.Cut(a.get("/").body, `<a href="./`+name+`">`)
	if !ok {
		a.t.Fatalf("no row of %s", name)
	}
	row, _, _ = strings.Cut(row, "</table>")
	row, _, _ = strings.Cut(row, `<th scope="row">`)
	return strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(row, " ")), " ")
}

func TestPage(t *testing.T) {
	a := start(t)
	if got := a.get("/?sort=nonsense"); got.StatusCode != 400 || !strings.Contains(got.body, "nonsense") {
		t.Errorf("an unknown order: %d %q, want 400", got.StatusCode, got.body)
	}
	a.service("fine", oneSample)
	a.stale("stale")
	if got := a.row("fine"); !strings.Contains(got, "not scraped yet") {
		t.Errorf("before a scrape: %q", got)
	}
	a.get("/fine")
	a.get("/stale")
	a.waitForScrapes(1, "fine", target.OK)
	a.waitForScrapes(1, "stale", target.Refused)
	if got := a.row("fine"); !strings.Contains(got, "fine for ") || !strings.Contains(got, " 4 B") {
		t.Errorf("after a scrape: %q", got)
	}
	if got := a.row("stale"); !strings.Contains(got, "failing for ") || !strings.Contains(got, a.socket("stale")) {
		t.Errorf("after a failure: %q", got)
	}
	if got := a.do("HEAD", "/"); got.StatusCode != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q", got.StatusCode, got.body)
	}
	remove(t, a.dir)
	if got := a.get("/"); got.StatusCode != 503 || !strings.Contains(got.body, a.dir) {
		t.Errorf("without the directory: %d\n%s", got.StatusCode, got.body)
	}
}

func TestPageOfTheTargetsFile(t *testing.T) {
	a := start(t)
	elsewhere := filepath.Join(t.TempDir(), "app.metrics")
	a.accept(elsewhere, func(c net.Conn) { io.WriteString(c, "x 1\n") })
	if err := os.Chmod(elsewhere, 0o604); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disabled", "moved", "secret"} {
		a.service(name, oneSample)
	}
	a.setTargets(map[string]targetsfile.Target{
		"app":      {Socket: elsewhere, Protocol: scrape.Raw},
		"disabled": {Disabled: true},
		"moved":    {Socket: "/run/x.sock", Disabled: true},
		"secret":   {Allow: &targetsfile.Allow{}},
	})
	a.get("/app")
	a.waitForScrapes(1, "app", target.OK)
	if got := a.row("app"); !strings.Contains(got, " 4 B") {
		t.Errorf("elsewhere: %q, want its size", got)
	}
	page := a.get("/").body
	for _, want := range []string{"disabled.sock", "moved.sock", "the targets file disables it"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "secret") {
		t.Errorf("a target that the client may not see is on the page:\n%s", page)
	}
	a.setTargets(map[string]targetsfile.Target{"moved": {Socket: elsewhere}})
	if page := a.get("/").body; !strings.Contains(page, "the targets file names another socket for moved, "+elsewhere) {
		t.Errorf("the page does not say which socket moved has:\n%s", page)
	}
}

// A page holds memory until its client has read it. So the page beyond limits.MaxPages gets
// 503, until one of the others is read or its client has gone.
func TestPagesAreBounded(t *testing.T) {
	a := start(t)
	for i := range limits.MaxPageRows {
		// Nobody listens; it takes less than a listener.
		if err := unix.Mknod(a.socket(fmt.Sprintf("s%05d", i)), unix.S_IFSOCK|0o660, 0); err != nil {
			t.Fatal(err)
		}
	}
	var readers []net.Conn
	for range limits.MaxPages {
		c := a.dialSlowly()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, c)
	}
	if got := a.get("/"); got.StatusCode != 503 || got.Header.Get("Retry-After") != "1" {
		t.Errorf("beyond the limit: %d, Retry-After %q; want 503, 1", got.StatusCode, got.Header.Get("Retry-After"))
	}
	readers[0].Close()
	eventually(t, "a page again", func() bool { return a.get("/?q=s00001").StatusCode == 200 })
}

// dialSlowly returns a connection whose kernel takes no more than a few kilobytes until they
// are read.
func (a *aegis) dialSlowly() net.Conn {
	a.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
	}}
	c, err := dialer.Dial("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { c.Close() })
	return c
}
