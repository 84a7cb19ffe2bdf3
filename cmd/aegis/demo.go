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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// demo runs sample services, good and bad ones, with Aegis before them.
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
		return fmt.Errorf("%w; aegis demo -hostport 127.0.0.1:0 takes a free port", err)
	}
	dir, err := os.MkdirTemp("", "aegis-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the sample services: %w", err)
	}
	defer os.RemoveAll(dir)
	signal.Ignore(syscall.SIGPIPE) // It would leave the folder behind.
	for _, s := range samples {
		stop, err := s.start(dir)
		if errors.Is(err, syscall.EINVAL) {
			err = fmt.Errorf("the path of its socket in %s is too long for a socket; set TMPDIR=/tmp", dir)
		}
		if err != nil {
			return fmt.Errorf("starting the sample service %s: %w", s.name, err)
		}
		defer stop()
	}
	go func() {
		if err := present(p.stdout, l.Addr().String(), dir); err != nil {
			p.stops <- syscall.SIGPIPE // Nobody sees what it is.
		}
	}()
	// The presentation shows what the log would say at lower levels.
	log := newLogger(p.stderr, slog.LevelError, false)
	return newDaemon([]net.Listener{l}, settings{sockdir: dir}, p, log).run()
}

// sample is a sample service.
type sample struct {
	name    string
	about   string
	handler http.Handler // nil: it died and left its socket behind
}

var samples = []sample{
	{"printerfacts", "a service with client_golang", printerfacts()},
	{"sloth", "a slow service: two seconds", http.HandlerFunc(sloth)},
	{"website", "a service that answers with HTML", http.HandlerFunc(website)},
	{"leftover", "a service that died, and its socket stayed", nil},
}

func printerfacts() http.Handler {
	registry := prometheus.NewRegistry()
	facts := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "printerfacts_facts_served_total",
		Help: "Facts about printers told so far.",
	})
	facts.Add(42)
	registry.MustRegister(facts)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

func sloth(w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(2 * time.Second):
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "# TYPE sloth_hurry gauge\nsloth_hurry 0")
	case <-r.Context().Done():
	}
}

func website(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintln(w, "<h1>Welcome</h1>")
}

// start runs s on a socket in dir until stop is called.
func (s sample) start(dir string) (stop func(), err error) {
	l, err := net.Listen("unix", filepath.Join(dir, s.name+".sock"))
	if err != nil {
		return nil, err
	}
	if s.handler == nil {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
		return func() {}, nil
	}
	server := &http.Server{Handler: s.handler}
	go server.Serve(l)
	return func() { server.Close() }, nil
}

// present scrapes each sample once through Aegis at addr, shows what came, and
// says what to try. It returns an error if that cannot be written.
func present(w io.Writer, addr, dir string) error {
	if _, err := fmt.Fprintf(w, "Aegis listens on http://%s for the sample services in %s:\n", addr, dir); err != nil {
		return err
	}
	for _, s := range samples {
		answer, err := scrapeOnce("http://" + addr + "/" + s.name)
		if err != nil {
			return nil // The demo was stopped meanwhile.
		}
		if _, err := fmt.Fprintf(w, "\n  curl http://%s/%s    # %s\n  %s\n", addr, s.name, s.about, answer); err != nil {
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

Ctrl-C stops it and removes the folder.
`, addr)
	return err
}

// scrapeOnce says in a line what the answer at url is.
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
		return fmt.Sprintf("%s: %d bytes, beginning %s", resp.Status, len(body), first), nil
	}
	return fmt.Sprintf("%s: %s", resp.Status, first), nil
}
