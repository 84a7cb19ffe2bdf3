package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy is a running program that maps GET /svcN to GET /metrics on svcN.sock.
type proxy struct {
	name string
	port int
	pid  int
}

// startProxies starts the named proxies for the sockets in dir, except those that are not
// installed. The first has to be.
func startProxies(b *testing.B, aegis, dir string, names ...string) []*proxy {
	b.Helper()
	var proxies []*proxy
	for _, name := range names {
		port := freePort(b)
		cmd := proxyCommand(b, name, aegis, dir, port)
		if _, err := exec.LookPath(cmd.Path); err != nil {
			b.Logf("without %s: %v", name, err)
			continue
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
		p := &proxy{name, port, cmd.Process.Pid}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if c, err := net.Dial("tcp", p.addr()); err == nil {
				c.Close()
				break
			}
			if time.Now().After(end) {
				b.Fatalf("%s does not listen", name)
			}
		}
		proxies = append(proxies, p)
	}
	return proxies
}

func proxyCommand(b *testing.B, name, aegis, dir string, port int) *exec.Cmd {
	b.Helper()
	work := b.TempDir()
	if err := os.Chmod(work, 0o755); err != nil {
		b.Fatal(err)
	}
	config := filepath.Join(work, name)
	write := func(text string) {
		text = strings.NewReplacer("WORK", work, "RUN", dir, "PORT", strconv.Itoa(port)).Replace(text)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	const nginx = `worker_processes 2; daemon off; pid WORK/pid; error_log WORK/log;
events { worker_connections 4096; }
http {
	access_log off; keepalive_requests 100000000;
	client_body_temp_path WORK/1; proxy_temp_path WORK/2; fastcgi_temp_path WORK/3; uwsgi_temp_path WORK/4; scgi_temp_path WORK/5;
	proxy_buffers 64 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
	proxy_http_version 1.1; proxy_set_header Connection "";
	upstream s { server unix:RUN/svc0.sock; keepalive 64; }
	server { listen 127.0.0.1:PORT; LOCATION }
}`
	switch name {
	case "nginx-any":
		write(strings.Replace(nginx, "LOCATION", `location ~ ^/(?<name>[A-Za-z0-9_-]+)$ { proxy_pass http://unix:RUN/$name.sock:/metrics; }`, 1))
	case "nginx-pinned":
		write(strings.Replace(nginx, "LOCATION", `location = /svc0 { proxy_pass http://s/metrics; }`, 1))
	case "haproxy":
		write(`global
	nbthread 2
	maxconn 4000
defaults
	mode http
	timeout client 30s
	timeout server 30s
	timeout connect 5s
	option splice-auto
frontend f
	bind 127.0.0.1:PORT
	default_backend b
backend b
	http-reuse always
	http-request set-path /metrics
	server s unix@RUN/svc0.sock
`)
		return exec.Command("haproxy", "-f", config)
	default:
		return exec.Command(aegis, "-hostport", fmt.Sprintf("127.0.0.1:%d", port), "-sockdir", dir)
	}
	return exec.Command("nginx", "-c", config)
}

func freePort(b *testing.B) int {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (p *proxy) addr() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// cost loads p for a second with scrapers that scrape all sockets in turn without pause. It
// returns the microseconds of processor time that a scrape took.
func (p *proxy) cost(b *testing.B, scrapers, sockets int) float64 {
	b.Helper()
	var (
		done    sync.WaitGroup
		mu      sync.Mutex
		scrapes int
	)
	before, end := p.cpu(b), time.Now().Add(time.Second)
	for i := range scrapers {
		s := p.dial(b)
		done.Go(func() {
			defer s.Close()
			n := 0
			for ; time.Now().Before(end); n++ {
				if err := s.scrape((i + n*7919) % sockets); err != nil {
					b.Errorf("%s: %v", p.name, err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			scrapes += n
		})
	}
	done.Wait()
	return (p.cpu(b) - before).Seconds() * 1e6 / float64(max(scrapes, 1))
}

// cpu returns the processor time of p and its children so far.
func (p *proxy) cpu(b *testing.B) time.Duration {
	var ticks int
	for _, pid := range p.processes(b) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, field := range fields[11:13] { // utime and stime, proc_pid_stat(5)
			n, _ := strconv.Atoi(field)
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100)
}

func (p *proxy) residentMiB(b *testing.B) float64 {
	var total float64
	for _, pid := range p.processes(b) {
		total += resident(b, pid)
	}
	return total
}

// processes returns the process IDs of p and its children.
func (p *proxy) processes(b *testing.B) []int {
	pids := []int{p.pid}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, field := range strings.Fields(string(children)) {
		pid, _ := strconv.Atoi(field)
		pids = append(pids, pid)
	}
	return pids
}

// scraperConn is a connection that scrapes one target after another.
type scraperConn struct {
	net.Conn
	r *bufio.Reader
}

func (p *proxy) dial(b *testing.B) *scraperConn {
	b.Helper()
	c, err := net.Dial("tcp", p.addr())
	if err != nil {
		b.Fatal(err)
	}
	return &scraperConn{c, bufio.NewReaderSize(c, 32<<10)}
}

// scrape scrapes svcN. It parses only as much of the response as it needs to find the end.
func (s *scraperConn) scrape(n int) error {
	if _, err := fmt.Fprintf(s, "GET /svc%d HTTP/1.1\r\nHost: bench\r\n\r\n", n); err != nil {
		return err
	}
	length, status := -1, ""
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": ")); {
		case status == "":
			status = string(name)
			continue
		case strings.EqualFold(string(name), "Content-Length"):
			length, _ = strconv.Atoi(string(value))
			continue
		case len(name) > 0:
			continue
		}
		break
	}
	if !strings.Contains(status, " 200 ") {
		return fmt.Errorf("svc%d: %s", n, status)
	}
	if length >= 0 {
		_, err := s.r.Discard(length)
		return err
	}
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return err
		}
		if _, err := s.r.Discard(int(size) + 2); err != nil || size == 0 {
			return err
		}
	}
}
