package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/scrape"
)

// held is a service whose scrapes wait until release is closed.
type held struct {
	dir     string
	arrived chan struct{}
	release chan struct{}
}

func newHeld(t *testing.T) *held {
	h := &held{t.TempDir(), make(chan struct{}, 1), make(chan struct{})}
	l, err := net.Listen("unix", filepath.Join(h.dir, "slow.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.arrived <- struct{}{}
		select {
		case <-h.release:
			fmt.Fprintln(w, "x 1")
		case <-r.Context().Done():
		}
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return h
}

// TestStop drives a stop with a scrape under way, which is finished after one
// signal, unless it hangs, and cut off by a second.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		hangs, second bool
		within        time.Duration
		code          int
		body          string
		says          string
	}{
		{"one signal", false, false, time.Second, 0, "x 1\n", "msg=stopped"},
		{"a scrape that hangs", true, false, limits.DrainTimeout + limits.DrainIdleTimeout + time.Second, 0, "", `msg="requests were cut off" requests=1`},
		{"two signals", true, true, 2 * time.Second, 1, "", "aegis: stopped at once by a second signal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHeld(t)
			l, err := listen("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := l.Addr().String()
			signals := make(chan os.Signal, 2)
			var stderr lockedBuffer
			p := process{io.Discard, &stderr, signals, nil}
			code := make(chan int, 1)
			d := newDaemon([]net.Listener{l}, settings{sockdir: h.dir}, p, newLogger(&stderr, slog.LevelInfo, false))
			go func() { code <- exitCode(d.run(), p) }()
			body := make(chan string, 1)
			go func() {
				req, _ := http.NewRequest("GET", "http://"+addr+"/slow", nil)
				req.Header.Set(scrape.TimeoutHeader, "60")
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					body <- ""
					return
				}
				defer resp.Body.Close()
				data, _ := io.ReadAll(resp.Body)
				body <- string(data)
			}()
			<-h.arrived
			signaled := time.Now()
			signals <- syscall.SIGTERM
			waitFor(t, "a new connection to be refused", func() bool {
				c, err := net.Dial("tcp", addr)
				if err == nil {
					c.Close()
				}
				return err != nil
			})
			if tt.second {
				signals <- syscall.SIGTERM
			}
			if !tt.hangs {
				close(h.release)
			}
			if got := <-code; got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			// A busy machine may take twice as long; the scrape has a minute.
			if took := time.Since(signaled); took > 2*tt.within {
				t.Errorf("stopped after %v, want %v", took, tt.within)
			}
			if got := <-body; got != tt.body {
				t.Errorf("the scrape under way got %q, want %q", got, tt.body)
			}
			if !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("stderr lacks %q:\n%s", tt.says, stderr.String())
			}
		})
	}
}

// TestSignals sends real ones to the real program.
func TestSignals(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		var stderr lockedBuffer
		cmd := exec.Command("aegis", "-hostport", "127.0.0.1:0", "-sockdir", t.TempDir())
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "aegis to serve", func() bool { return strings.Contains(stderr.String(), "msg=serving") })
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want exit 0\n%s", sig, err, stderr.String())
		}
	}
}

// The service manager is told of every turn in the life of the real program.
func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	manager.SetReadDeadline(time.Now().Add(20 * time.Second))
	dir := t.TempDir()
	cmd := exec.Command("aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=200000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	await := func(want string) {
		t.Helper()
		var told []string
		for buf := make([]byte, 4096); ; {
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("%v; told %q, want %q", err, told, want)
			}
			if told = append(told, string(buf[:n])); strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
	await("READY=1\nSTATUS=")
	await("STATUS=0 sockets in " + dir + "; 0 fine\n")
	await("WATCHDOG=1\n")
	cmd.Process.Signal(syscall.SIGHUP)
	await("RELOADING=1\nMONOTONIC_USEC=")
	await("READY=1\nSTATUS=reloaded\n")
	os.RemoveAll(dir)
	cmd.Process.Signal(syscall.SIGHUP)
	await("READY=1\nSTATUS=reload failed, the connections to services stay as they were: no such folder")
	// However many come, they do not push out what comes after them.
	for range 50 {
		cmd.Process.Signal(syscall.SIGHUP)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	await("STOPPING=1\nEXTEND_TIMEOUT_USEC=")
	if err := cmd.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// A stop tells a client that uses its kept connection in time that this was the
// last, and waits neither for one that does not nor for half a request.
func TestDrain(t *testing.T) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stops := make(chan os.Signal, 1)
	p := process{io.Discard, io.Discard, stops, nil}
	d := newDaemon([]net.Listener{l}, settings{sockdir: t.TempDir()}, p, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- d.run() }()

	dial := func(sent string) *kept {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, sent)
		return &kept{c, bufio.NewReader(c)}
	}
	const request = "GET /-/ready HTTP/1.1\r\nHost: h\r\n\r\n"
	answer := func(k *kept) *http.Response {
		t.Helper()
		resp, err := http.ReadResponse(k.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		return resp
	}
	dial("")
	dial("GET /-/ready HT")
	idle, busy := dial(request), dial(request)
	answer(idle)
	if answer(busy).Close {
		t.Error("a connection is closed before the stop")
	}
	waitFor(t, "all connections", func() bool { return d.web.Connections() == 4 })
	stops <- syscall.SIGTERM
	waitFor(t, "the listener to be closed", func() bool {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	io.WriteString(busy, request)
	if resp := answer(busy); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("in the grace: %s, close %v; want 200 and a close", resp.Status, resp.Close)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(limits.DrainTimeout - time.Second):
		t.Error("the stop waits for connections without a request")
	}
	if !idle.closed() {
		t.Error("an idle connection is left open")
	}
}

func TestJournalLines(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, slog.LevelDebug, true)
	log.Debug("d")
	log.Info("i", "target", "a\nb")
	log.With("k", "v").WithGroup("g").Warn("w", "x", 1)
	log.Error("e")
	want := "<7>msg=d\n<6>msg=i target=\"a\\nb\"\n<4>msg=w k=v g.x=1\n<3>msg=e\n"
	if out.String() != want {
		t.Errorf("journal lines:\n%swant:\n%s", out.String(), want)
	}
	out.Reset()
	newLogger(&out, slog.LevelInfo, false).Debug("quiet")
	newLogger(&out, slog.LevelInfo, true).Debug("quiet")
	if out.Len() > 0 {
		t.Errorf("logged below its level: %q", out.String())
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// lockedBuffer is a buffer that is written and read at once.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
