package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// demo runs sample services, good and bad ones, with Aegis in front.
func demo(args []string, p process) error {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	hostport := fs.String("hostport", "127.0.0.1:31337", "")
	if err := parse(fs, args); err != nil {
		return err
	}
	l, err := listen(*hostport)
	if errors.Is(err, errUsage) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w; use aegis demo -hostport 127.0.0.1:0 for a free port", err)
	}
	dir, err := os.MkdirTemp("", "aegis-demo-")
	if err != nil {
		return fmt.Errorf("making a directory for the sample services: %w", err)
	}
	defer os.RemoveAll(dir)
	signal.Ignore(syscall.SIGPIPE) // It would end the demo before the directory is removed.
	for _, s := range samples {
		err := s.start(dir)
		if errors.Is(err, syscall.EINVAL) {
			err = fmt.Errorf("the path of its socket in %s is too long for a socket; set TMPDIR=/tmp", dir)
		}
		if err != nil {
			return fmt.Errorf("starting the sample service %s: %w", s.name, err)
		}
	}
	go func() {
		if err := present(p.stdout, l.Addr().String(), dir); err != nil {
			p.stops <- syscall.SIGPIPE // Nobody reads the output.
		}
	}()
	// The output shows what the log would say at lower levels.
	log := newLogger(p.stderr, slog.LevelError, false)
	return newDaemon([]net.Listener{l}, settings{directories: directories{sockdir: dir}}, p, log).run()
}

// sample is a sample service.
type sample struct {
	name    string
	about   string
	handler http.HandlerFunc // nil for one that died and left its socket behind
}

var samples = []sample{
	{"printerfacts", "a service that is fine", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "# HELP printerfacts_facts_served_total Facts about printers served so far.\n"+
			"# TYPE printerfacts_facts_served_total counter\nprinterfacts_facts_served_total 42\n")
	}},
	{"sloth", "a slow service: two seconds", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(2 * time.Second)
		fmt.Fprint(w, "# TYPE sloth_hurry gauge\nsloth_hurry 0\n")
	}},
	{"website", "a service that responds with HTML", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<h1>Welcome</h1>\n")
	}},
	{"leftover", "a service that died and left its socket behind", nil},
}

// start runs s on a socket in dir until the program ends.
func (s sample) start(dir string) error {
	l, err := net.Listen("unix", filepath.Join(dir, s.name+".sock"))
	if err != nil {
		return err
	}
	if s.handler == nil {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		return l.Close()
	}
	go http.Serve(l, s.handler)
	return nil
}

// present scrapes each sample once through Aegis at addr, and prints the responses and what
// to try next. It returns an error if w does.
func present(w io.Writer, addr, dir string) error {
	if _, err := fmt.Fprintf(w, "Aegis listens on http://%s for the sample services in %s:\n", addr, dir); err != nil {
		return err
	}
	for _, s := range samples {
		response, err := scrapeOnce("http://" + addr + "/" + s.name)
		if err != nil {
			return nil // The demo was stopped in the meantime.
		}
		if _, err := fmt.Fprintf(w, "\n  curl http://%s/%s    # %s\n  %s\n", addr, s.name, s.about, response); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, `
Also: curl http://%[1]s/-/sd (discovery), /metrics (Aegis' own), and / in a browser.
For Prometheus, in prometheus.yml; each socket becomes a job of its own:

  scrape_configs:
    - job_name: aegis
      http_sd_configs:
        - url: http://%[1]s/-/sd

Ctrl-C stops it and removes the directory.
`, addr)
	return err
}

// scrapeOnce returns the response at url in one line.
func scrapeOnce(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(body), "\n")
	if resp.StatusCode == http.StatusOK {
		return fmt.Sprintf("%s: %d bytes, starting with %s", resp.Status, len(body), first), nil
	}
	return fmt.Sprintf("%s: %s", resp.Status, first), nil
}
