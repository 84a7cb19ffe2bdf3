package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// recordingService serves name.sock in dir. The function requests returns the request
// targets and headers that it has received.
func recordingService(t *testing.T, dir, name string) (requests func() string) {
	t.Helper()
	var mu sync.Mutex
	var log strings.Builder
	startService(t, dir, sample{name: name, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&log, r.RequestURI)
		r.Header.Write(&log)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "x 1")
	})})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
}

// startService runs s on a socket in dir until stop is called or the test ends.
func startService(t *testing.T, dir string, s sample) (stop func()) {
	t.Helper()
	if s.handler == nil {
		if err := s.start(dir); err != nil {
			t.Fatal(err)
		}
		return func() {}
	}
	l, err := net.Listen("unix", filepath.Join(dir, s.name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.handler}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return func() { server.Close() }
}

// sampleDirectory returns a directory with two services that are fine (svc and other), a
// slow one (sloth) and one with a large response (large).
func sampleDirectory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	recordingService(t, dir, "svc")
	recordingService(t, dir, "other")
	startService(t, dir, sample{name: "sloth", handler: samples[1].handler})
	body := bytes.Repeat([]byte("x 1\n"), 1<<20)
	startService(t, dir, sample{name: "large", handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.Write(body)
	})})
	return dir
}

// serveConnections listens on name.sock in dir and calls talk for each connection, in a
// goroutine of its own.
func serveConnections(t *testing.T, dir, name string, talk func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go talk(c)
		}
	}()
}

// afterRequest sends response once a request has come.
func afterRequest(c net.Conn, response string) {
	if _, err := http.ReadRequest(bufio.NewReaderSize(c, 16)); err == nil {
		io.WriteString(c, response)
	}
}

// gzipped returns text compressed.
func gzipped(text string) string {
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	io.WriteString(w, text)
	w.Close()
	return compressed.String()
}
