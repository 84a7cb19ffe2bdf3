package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// payload describes the responses of the services of benchmarks.
type payload struct {
	size    int    // in bytes
	framing string // length, chunked or one-chunk
}

// sampleServices starts a process with n services, svc0.sock and so on, in the directory
// that it returns.
func sampleServices(b *testing.B, n int, p payload) string {
	b.Helper()
	dir := b.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("sample-services", dir, strconv.Itoa(n), strconv.Itoa(p.size), p.framing)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatalf("sample services: %q, %v", line, err)
	}
	return dir
}

// serveSamples is the program sample-services DIR N SIZE FRAMING. Its services write 4 KiB at
// a time, as exporters do, unless FRAMING is another than chunked.
func serveSamples() {
	dir, framing := os.Args[1], os.Args[4]
	n, _ := strconv.Atoi(os.Args[2])
	size, _ := strconv.Atoi(os.Args[3])
	const sample = "sample_requests_total{method=\"GET\",code=\"200\",path=\"/api/v1/thing\"} 12345\n"
	body := []byte(strings.Repeat(sample, size/len(sample)+1)[:size-1] + "\n")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if framing == "length" {
			w.Header().Set("Content-Length", strconv.Itoa(size))
			w.Write(body)
			return
		}
		pieceSize := 4096
		if framing == "one-chunk" {
			pieceSize = size
		}
		for rest := body; len(rest) > 0; {
			piece := rest[:min(len(rest), pieceSize)]
			w.Write(piece)
			rest = rest[len(piece):]
		}
	})
	for i := range n {
		l, err := net.Listen("unix", filepath.Join(dir, fmt.Sprintf("svc%d.sock", i)))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := os.Chmod(l.Addr().String(), 0o666); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go http.Serve(l, handler)
	}
	fmt.Println("ready")
	select {}
}
