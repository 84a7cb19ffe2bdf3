package web

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/server"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// aegis is a Server on a real listener, with its directory of sockets and its log.
type aegis struct {
	*Server
	conns *server.Server
	t     testing.TB
	dir   string
	addr  string
	log   *logBuffer
}

// start serves an empty directory on loopback.
func start(t testing.TB) *aegis {
	t.Helper()
	return startBehind(t, nil)
}

// startBehind is start behind a reverse proxy at external.
func startBehind(t testing.TB, external *url.URL) *aegis {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false) // as the daemon does, so that buffers have their limits
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &aegis{t: t, dir: t.TempDir(), addr: l.Addr().String(), log: new(logBuffer)}
	log := slog.New(slog.NewTextHandler(a.log, nil))
	registry := prometheus.NewRegistry()
	targets := target.NewSet(socketdir.New(a.dir), targetsfile.File{}, log, registry)
	a.Server = New(Config{Targets: targets, Log: log, Registry: registry, Version: "1.2.3", Revision: "abc", ExternalURL: external})
	a.conns = server.New(server.Config{Handler: a.Server, Log: log, Registry: registry})
	go a.conns.Serve([]net.Listener{l})
	t.Cleanup(a.conns.Close)
	return a
}

// socket returns the path of the socket called name.
func (a *aegis) socket(name string) string { return filepath.Join(a.dir, name+socketdir.Suffix) }

// service serves the socket called name with h.
func (a *aegis) service(name string, h http.HandlerFunc) *net.UnixListener {
	a.t.Helper()
	l, err := net.Listen("unix", a.socket(name))
	if err != nil {
		a.t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	a.t.Cleanup(func() { srv.Close() })
	return l.(*net.UnixListener)
}

// oneSample is a service that works.
func oneSample(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	io.WriteString(w, "x 1\n")
}

// stale makes the socket called name, on which nobody listens.
func (a *aegis) stale(name string) {
	l := a.service(name, oneSample)
	l.SetUnlinkOnClose(false)
	l.Close()
}

// accept calls serve for each connection to the socket at path, and closes it then.
func (a *aegis) accept(path string, serve func(net.Conn)) {
	a.t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
}

// respond serves the socket called name: it reads the head of a request and sends response.
func (a *aegis) respond(name, response string) {
	a.t.Helper()
	a.accept(a.socket(name), func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, response)
	})
}

// setTargets replaces the targets file.
func (a *aegis) setTargets(targets map[string]targetsfile.Target) {
	for name, t := range targets {
		if t.Path == "" {
			t.Path = targetsfile.Default.Path
			targets[name] = t
		}
	}
	a.targets.SetFile(targetsfile.File{Targets: targets})
}

// reply is a response of Aegis.
type reply struct {
	*http.Response
	body string
	err  error // of reading the body
}

// get sends GET path with header fields, given in pairs.
func (a *aegis) get(path string, fields ...string) reply {
	a.t.Helper()
	return a.do("GET", path, fields...)
}

func (a *aegis) do(method, path string, fields ...string) reply {
	a.t.Helper()
	req, err := http.NewRequest(method, "http://"+a.addr+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return reply{resp, string(data), err}
}

// dial connects to Aegis.
func (a *aegis) dial() *net.TCPConn {
	a.t.Helper()
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(3 * limits.ReadHeaderTimeout))
	return c.(*net.TCPConn)
}

// send sends the bytes of request and returns everything that comes back.
func (a *aegis) send(request string) (string, error) {
	a.t.Helper()
	c := a.dial()
	defer c.Close()
	io.WriteString(c, request)
	data, err := io.ReadAll(c)
	return string(data), err
}

// metric returns the value of a series of Aegis' own, or "" if there is none.
func (a *aegis) metric(series string) string {
	a.t.Helper()
	for line := range strings.Lines(a.get("/metrics").body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// scrapes returns how many scrapes of a target with a result are counted, or "".
func (a *aegis) scrapes(name string, result target.Result) string {
	a.t.Helper()
	return a.metric(fmt.Sprintf(`aegis_scrapes_total{result="%s",target="%s"}`, result, name))
}

// waitForScrapes waits until that many scrapes of a target with a result are counted: a
// response reaches its client first.
func (a *aegis) waitForScrapes(want int, name string, result target.Result) {
	a.t.Helper()
	eventually(a.t, fmt.Sprintf("%d scrapes of %s are %s", want, name, result), func() bool {
		return a.scrapes(name, result) == fmt.Sprint(want)
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// logBuffer is the output of a log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
