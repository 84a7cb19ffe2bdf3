package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkStart measures the time from exec to READY=1, compared with the smallest net/http
// server. It starts both in turns and prints the medians.
//
//	go test -run '^$' -bench Start -benchtime 20x ./cmd/aegis
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	programs := []struct {
		metric string
		args   []string
		took   []time.Duration
	}{
		{"aegis-median-ms", []string{buildProgram(b, dir, "aegis", "."), "-hostport", "127.0.0.1:0", "-sockdir", dir}, nil},
		{"hello-median-ms", []string{buildProgram(b, dir, "hello", "./testdata/hello")}, nil},
	}
	path := filepath.Join(dir, "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		b.Fatal(err)
	}
	defer notify.Close()
	for b.Loop() {
		for i := range programs {
			p := &programs[i]
			p.took = append(p.took, untilReady(b, notify, path, p.args))
		}
	}
	for _, p := range programs {
		slices.Sort(p.took)
		b.ReportMetric(float64(p.took[len(p.took)/2].Microseconds())/1000, p.metric)
	}
}

func buildProgram(b *testing.B, dir, name, pkg string) string {
	b.Helper()
	exe := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-o", exe, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	return exe
}

func untilReady(b *testing.B, notify *net.UnixConn, path string, args []string) time.Duration {
	b.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		drainMessages(notify)
	}()
	notify.SetReadDeadline(start.Add(10 * time.Second))
	buf := make([]byte, 4096)
	n, err := notify.Read(buf)
	if err != nil || !strings.Contains(string(buf[:n]), "READY=1") {
		b.Fatalf("%s: %q, %v; want READY=1", args[0], buf[:n], err)
	}
	return time.Since(start)
}

// drainMessages drops the messages that a program sent after READY=1.
func drainMessages(notify *net.UnixConn) {
	buf := make([]byte, 4096)
	for {
		notify.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := notify.Read(buf); err != nil {
			return
		}
	}
}
