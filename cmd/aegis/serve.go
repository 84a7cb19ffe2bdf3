package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"syscall"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/sockdir"
	"tulpa.dev/cadey/aegis/internal/systemd"
	"tulpa.dev/cadey/aegis/internal/web"
)

// settings are what serve is told by its flags.
type settings struct {
	hostport string
	sockdir  string
	allow    []netip.Prefix
	level    slog.Level
}

func serve(args []string, p process) error {
	var (
		s           settings
		showVersion bool
	)
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&s.hostport, "hostport", "[::]:31337", "")
	fs.StringVar(&s.sockdir, "sockdir", "./run", "")
	fs.Func("allow", "", func(list string) (err error) {
		s.allow, err = web.ParsePrefixes(list)
		return err
	})
	fs.TextVar(&s.level, "log.level", slog.LevelInfo, "")
	fs.BoolVar(&showVersion, "version", false, "")
	if err := parse(fs, args); err != nil {
		return err
	}
	if showVersion {
		_, err := fmt.Fprintln(p.stdout, versionLine())
		return err
	}
	if s.sockdir == "" {
		return fmt.Errorf("-sockdir is empty, it names a folder: %w", errUsage)
	}
	dir, err := filepath.Abs(s.sockdir)
	if err != nil {
		return fmt.Errorf("finding -sockdir %s: %w", s.sockdir, err)
	}
	s.sockdir = dir
	l, err := listen(s.hostport)
	if err != nil {
		return err
	}
	return serveOn(l, s, p)
}

// listen opens the address that -hostport gives.
func listen(hostport string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, fmt.Errorf("-hostport %q is no ADDRESS:PORT such as [::]:31337 or 127.0.0.1:31337: %w", hostport, errUsage)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fmt.Errorf("-hostport %q has no port from 0 to 65535: %w", hostport, errUsage)
	}
	l, err := net.Listen("tcp", hostport)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", hostport, listenError(err))
	}
	return l, nil
}

// listenError says what to do about err.
func listenError(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("the address is in use, perhaps by another aegis (ss -ltnp shows it)")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("no interface of this machine has that address (ip addr shows which there are)")
	case errors.Is(err, syscall.EACCES):
		return errors.New("permission denied; ports under 1024 are for root, take a higher one")
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return errors.New("this machine has no IPv6; give an IPv4 address such as -hostport 0.0.0.0:31337")
	case errors.As(err, &dns):
		return fmt.Errorf("%q is no address of this machine, nor a name of one", dns.Name)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// serveOn serves on l until a signal comes or l fails.
func serveOn(l net.Listener, s settings, p process) error {
	log := newLogger(p.stderr, s.level, systemd.StderrIsJournal())
	server := web.New(web.Config{
		Folder: sockdir.Folder(s.sockdir), Log: log, Version: version, Revision: buildRevision(),
	})
	sweeping, stopSweeping := context.WithCancel(context.Background())
	defer stopSweeping()
	go server.Sweep(sweeping)

	httpServer := server.HTTPServer()
	failed := make(chan error, 1)
	go func() { failed <- httpServer.Serve(server.Allow(l, s.allow)) }()
	log.Info("serving", "address", l.Addr().String(), "sockdir", s.sockdir, "version", version)

	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	case sig := <-p.signals:
		log.Info("stopping: finishing the scrapes under way", "signal", sig.String())
	}
	return drain(server, httpServer, p, log)
}

// drain finishes the scrapes under way, within limits.Drain.
func drain(server *web.Server, httpServer *http.Server, p process, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), limits.Drain)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- httpServer.Shutdown(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			log.Warn("stopped with scrapes still under way", "after", limits.Drain)
			httpServer.Close()
		}
	case sig := <-p.signals:
		httpServer.Close()
		return fmt.Errorf("stopped at once by a second signal (%v)", sig)
	}
	server.Close()
	log.Info("stopped")
	return nil
}
