package main

import (
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
// signal and cut off by a second.
func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		second bool
		code   int
		body   string
		says   string
	}{
		{"one signal", false, 0, "x 1\n", "msg=stopped"},
		{"two signals", true, 1, "", "aegis: stopped at once by a second signal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHeld(t)
			l, err := listen("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := l.Addr().String()
			signals := make(chan os.Signal, 2)
			var stderr lockedBuffer
			p := process{io.Discard, &stderr, signals}
			code := make(chan int, 1)
			d := newDaemon([]net.Listener{l}, settings{sockdir: h.dir}, signals, newLogger(&stderr, slog.LevelInfo, false))
			go func() { code <- exitCode(d.run(), p) }()
			body := make(chan string, 1)
			go func() {
				resp, err := http.Get("http://" + addr + "/slow")
				if err != nil {
					body <- ""
					return
				}
				defer resp.Body.Close()
				data, _ := io.ReadAll(resp.Body)
				body <- string(data)
			}()
			<-h.arrived
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
			} else {
				close(h.release)
			}
			if got := <-code; got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
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
