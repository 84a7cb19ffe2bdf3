package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

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

// Aegis serves although its log cannot be written.
func TestLogOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	l, err := listen("127.0.0.1:0") // The log cannot tell the port.
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command("aegis", "-hostport", addr, "-sockdir", dir)
	cmd.Stdout, cmd.Stderr = full, full
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, func() error {
		resp, err := http.Get("http://" + addr + "/svc")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
}

// If nobody reads the log, such as a journal that hangs or a pager, neither a scrape nor a
// stop hangs. Lines that are lost are counted in the log.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("aegis", "-hostport", "127.0.0.1:0", "-sockdir", dir, "-log.level", "debug")
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w.Close()
	r.SetReadDeadline(time.Now().Add(time.Minute))
	log := bufio.NewScanner(r)
	await := func(pattern string) (group string) {
		t.Helper()
		for re := regexp.MustCompile(pattern); log.Scan(); {
			if match := re.FindStringSubmatch(log.Text()); match != nil {
				return match[1]
			}
		}
		t.Fatalf("the log never had %s: %v", pattern, log.Err())
		return ""
	}
	addr := await(`msg=serving address=(\S+)`)
	client := &http.Client{Timeout: 30 * time.Second}
	const scrapes = 3 * limits.MaxLogQueue // more than the queue and the pipe hold
	scrapeAll := func() {
		t.Helper()
		for range scrapes {
			resp, err := client.Get("http://" + addr + "/svc")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status, err)
			}
			resp.Body.Close()
		}
	}
	scrapeAll()
	lost, err := strconv.Atoi(await(`^aegis: (\d+) log lines were dropped`))
	if err != nil || lost < 1 || lost >= scrapes {
		t.Errorf("%d lines of %d are lost (%v)", lost, scrapes, err)
	}
	scrapeAll()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
