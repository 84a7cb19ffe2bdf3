package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

// inProcess is a daemon that runs in the test's own process.
type inProcess struct {
	*daemon
	addr   string
	stops  chan os.Signal
	stderr *lockedBuffer
	code   chan int // has the exit code at the end
}

func startInProcess(t *testing.T, dir string) *inProcess {
	t.Helper()
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, l, dir)
}

// startOn starts a daemon for the sockets in dir that serves l. It stops when the test ends.
func startOn(t *testing.T, l net.Listener, dir string) *inProcess {
	t.Helper()
	r := &inProcess{addr: l.Addr().String(), stops: make(chan os.Signal, 2), stderr: new(lockedBuffer), code: make(chan int, 1)}
	p := process{io.Discard, r.stderr, r.stops, nil}
	r.daemon = newDaemon([]net.Listener{l}, settings{directories: directories{sockdir: dir}}, p, newLogger(r.stderr, slog.LevelInfo, false))
	go func() { r.code <- exitCode(r.run(), p) }()
	t.Cleanup(r.server.Close)
	return r
}

// awaitClosed waits until nobody accepts connections any more.
func (r *inProcess) awaitClosed(t *testing.T) {
	t.Helper()
	waitFor(t, "the listener to be closed", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// After one signal a scrape in flight is finished, unless it takes too long. After a second
// it is cut off.
func TestStopWithAScrapeInFlight(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		hangs, second bool
		code          int
		body, log     string
	}{
		"one signal":          {false, false, 0, "x 1\n", "msg=stopped"},
		"a scrape that hangs": {true, false, 0, "", `msg="requests were cut off" count=1`},
		"two signals":         {true, true, 1, "", "aegis: stopped at once by a second signal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			arrived, release := make(chan struct{}), make(chan struct{})
			startService(t, dir, sample{name: "slow", handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				select {
				case <-release:
					fmt.Fprintln(w, "x 1")
				case <-r.Context().Done():
				}
			})})
			r := startInProcess(t, dir)
			body := make(chan string, 1)
			go func() { body <- scrapeFor(r.addr, "slow", time.Minute) }()
			<-arrived
			signaled := time.Now()
			r.stops <- syscall.SIGTERM
			r.awaitClosed(t)
			if tt.second {
				r.stops <- syscall.SIGTERM
			}
			if !tt.hangs {
				close(release)
			}
			if got := <-r.code; got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			// The scrape itself may take a minute.
			if took := time.Since(signaled); took > 30*time.Second {
				t.Errorf("stopped after %v", took)
			}
			if got := <-body; got != tt.body {
				t.Errorf("the scrape in flight got %q, want %q", got, tt.body)
			}
			if !strings.Contains(r.stderr.String(), tt.log) {
				t.Errorf("the log lacks %q:\n%s", tt.log, r.stderr)
			}
		})
	}
}

// scrapeFor scrapes name with a timeout. It returns the body, or nothing if the scrape
// failed.
func scrapeFor(addr, name string, timeout time.Duration) string {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/"+name, nil)
	if err != nil {
		return ""
	}
	req.Header.Set(scrape.TimeoutHeader, fmt.Sprint(timeout.Seconds()))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(data)
}

// A stop loses no request of a client that keeps using its connection: a response tells it
// that the connection ends. The stop waits neither for idle clients nor for half a request.
func TestDrain(t *testing.T) {
	r := startInProcess(t, t.TempDir())
	connect := func(sent string) *keptConn {
		c := dial(t, r.addr)
		io.WriteString(c, sent)
		return &keptConn{c, bufio.NewReader(c)}
	}
	request := get("/-/ready")
	response := func(c *keptConn) *http.Response {
		t.Helper()
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		return resp
	}
	connect("")
	connect(request[:len(request)/2])
	idle, busy := connect(request), connect(request)
	response(idle)
	if response(busy).Close {
		t.Error("a connection ends before the stop")
	}
	waitFor(t, "all connections", func() bool { return usageOf(t, r.addr).scrapers >= 4 })
	r.stops <- syscall.SIGTERM
	for closed := false; !closed; {
		io.WriteString(busy, request)
		resp := response(busy)
		if closed = resp.Close; resp.StatusCode != http.StatusOK {
			t.Errorf("during the stop: %s, want 200", resp.Status)
		}
	}
	select {
	case code := <-r.code:
		if code != 0 {
			t.Errorf("exit code %d\n%s", code, r.stderr)
		}
	case <-time.After(limits.DrainTimeout):
		t.Error("the stop waits for connections without a request")
	}
	if !idle.peerClosed() {
		t.Error("an idle connection is left open")
	}
}
