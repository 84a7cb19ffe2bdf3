package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// activate starts aegis as a service manager that passes files does.
func activate(t *testing.T, stderr *lockedBuffer, args string, files ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", fmt.Sprintf("LISTEN_PID=$$ LISTEN_FDS=%d exec aegis %s", len(files), args))
	cmd.ExtraFiles = files
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// fileOf returns the descriptor of l, and closes l.
func fileOf(t *testing.T, l interface {
	File() (*os.File, error)
	Close() error
}) *os.File {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { f.Close() })
	return f
}

func TestSocketActivation(t *testing.T) {
	dir := t.TempDir()
	v4, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "aegis.sock")
	un, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	un.(*net.UnixListener).SetUnlinkOnClose(false)
	addr := v4.Addr().String()
	var stderr lockedBuffer
	// Listening on 192.0.2.1 would fail: no machine has that address.
	cmd := activate(t, &stderr, "-hostport 192.0.2.1:1 -allow 192.0.2.1,127.0.0.0/8 -sockdir "+dir,
		fileOf(t, v4.(*net.TCPListener)), fileOf(t, un.(*net.UnixListener)))

	overUnix := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	for name, get := range map[string]func(string) (*http.Response, error){"TCP": http.Get, "Unix": overUnix.Get} {
		resp, err := get("http://" + addr + "/-/ready")
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, stderr.String())
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
	for _, want := range []string{
		`level=INFO msg="using a listener of the service manager" address=` + addr,
		`level=INFO msg=serving address=` + path,
		`level=WARN msg="ignoring -hostport: the socket unit says where to listen (ListenStream=)" hostport=192.0.2.1:1`,
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, stderr.String())
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the stop removed the socket of the socket unit: %v", err)
	}
}

// -allow keeps TCP clients out of the listeners of the service manager too. Clients of a Unix
// listener have no address.
func TestAllowWithSocketActivation(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	var stderr lockedBuffer
	activate(t, &stderr, "-allow 192.0.2.1 -allow 198.51.100.0/24 -sockdir "+t.TempDir(), fileOf(t, l.(*net.TCPListener)))
	if resp, err := http.Get("http://" + addr + "/-/ready"); err == nil {
		resp.Body.Close()
		t.Errorf("a client that -allow does not name got %s", resp.Status)
	}
	waitFor(t, "a line of the log", func() bool {
		return strings.Contains(stderr.String(), "connection rejected: -allow does not name its address")
	})
}

func TestDescriptorThatIsNotAListener(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "d"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		file *os.File
		says string
	}{
		{"UDP", fileOf(t, udp), "not a stream socket; use ListenStream="},
		{"Unix datagram", fileOf(t, datagram), "not a stream socket; use ListenStream="},
		{"device", file, "it is not a stream socket"},
	} {
		var stderr lockedBuffer
		cmd := activate(t, &stderr, "-sockdir "+t.TempDir(), tt.file)
		cmd.Wait()
		if got := stderr.String(); cmd.ProcessState.ExitCode() != 1 || strings.Count(got, "\n") != 1 ||
			!strings.Contains(got, "descriptor 3 (LISTEN_FD_3)") || !strings.Contains(got, tt.says) {
			t.Errorf("%s: exit code %d, %q; want 1 and %q", tt.name, cmd.ProcessState.ExitCode(), got, tt.says)
		}
	}
}
