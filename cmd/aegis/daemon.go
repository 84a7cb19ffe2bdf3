package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/server"
	"tulpa.dev/cadey/aegis/internal/systemd"
	"tulpa.dev/cadey/aegis/internal/target"
	"tulpa.dev/cadey/aegis/internal/web"
)

// daemon is the running program: start, reloads, signals, drain, end.
type daemon struct {
	process
	settings
	log     *slog.Logger
	targets *target.Set
	web     *web.Server
	auth    *auth.Authenticator // nil without a web file
	server  *server.Server
	manager *systemd.Manager
	ended   chan error // has an element if the server has ended by itself
}

// newDaemon returns a daemon that serves listeners.
func newDaemon(listeners []net.Listener, s settings, p process, log *slog.Logger) *daemon {
	registry := prometheus.NewRegistry()
	d := &daemon{
		process: p, settings: s, log: log, ended: make(chan error, 1),
		manager: systemd.NewManager(func(err error) { log.Warn("service manager", "error", err) }),
		targets: s.newSet(s.targets, log, registry),
	}
	d.web = web.New(web.Config{
		Targets: d.targets, Log: log, Registry: registry, Version: version, Revision: buildRevision(),
		ExternalURL: s.externalURL,
	})
	if s.targetsFile != "" {
		d.web.SetReloadError("targets", nil)
	}
	if s.webFile != nil {
		d.auth = auth.New(s.webFile, log)
		d.web.SetReloadError("web", nil)
	}
	d.server = server.New(server.Config{
		Handler: d.web, Auth: d.auth, Allow: s.allow, Log: log, Registry: registry,
	})
	d.warn()
	// A file system that hangs must not delay the start.
	go func() { d.logWarnings(append(notSetgid(s.sockdir), noVarlink(s.varlinkdir)...)) }()
	for _, l := range listeners {
		log.Info("serving", "address", l.Addr().String(), "sockdir", d.targets.Directories(), "version", version)
	}
	go func() { d.ended <- d.server.Serve(listeners) }()
	return d
}

// warn logs what is wrong with the files although they are valid.
func (d *daemon) warn() {
	var webFile *auth.File
	if d.auth != nil {
		webFile = d.auth.File()
	}
	d.logWarnings(fileWarnings(d.targets.File(), webFile))
}

func (d *daemon) logWarnings(warnings []warning) {
	for _, w := range warnings {
		d.log.Warn(w.message, w.kind, w.subject)
	}
}

// run serves until a signal ends it or a listener fails.
func (d *daemon) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d.manager.Ready("serving")
	go d.manager.Watchdog(ctx, d.web.Alive)
	go d.web.Watch(ctx, d.manager.Status)
	go d.reloadOnHangup(ctx)
	select {
	case err := <-d.ended:
		return fmt.Errorf("serving: %w", err)
	case sig := <-d.stops:
		return d.stop(sig)
	}
}

// reloadOnHangup reloads at each SIGHUP until ctx ends.
func (d *daemon) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.hangups:
			d.reload(ctx)
		}
	}
}

// reload reads both files and the directory again. What cannot be read stays as it was, and
// so do listeners and scrapes in flight.
func (d *daemon) reload(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, limits.ReloadTimeout)
	defer cancel()
	d.manager.Reloading()
	var failures []string
	for _, step := range []struct {
		run         func() error
		consequence string
	}{
		{d.reloadTargetsFile, "keeping the previous targets file"},
		{d.reloadWebFile, "keeping the previous web file"},
		{func() error { return d.reloadDirectory(ctx) }, "keeping the list of targets"},
	} {
		if err := step.run(); err != nil {
			d.log.Warn("reload failed, "+step.consequence, "error", err)
			failures = append(failures, fmt.Sprintf("%s: %v", step.consequence, err))
		}
	}
	d.warn()
	if len(failures) > 0 {
		d.manager.Ready("reload failed, " + strings.Join(failures, "; "))
		return
	}
	d.log.Info("reloaded")
	d.manager.Ready("reloaded")
}

func (d *daemon) reloadTargetsFile() error {
	if d.targetsFile == "" {
		return nil
	}
	file, err := readTargetsFile(d.targetsFile)
	if err == nil {
		d.targets.SetFile(file)
	}
	d.web.SetReloadError("targets", err)
	return err
}

func (d *daemon) reloadWebFile() error {
	if d.auth == nil {
		return nil
	}
	err := d.auth.Reload()
	d.web.SetReloadError("web", err)
	return err
}

func (d *daemon) reloadDirectory(ctx context.Context) error {
	_, err := d.targets.Reconcile(ctx)
	if err == nil {
		d.targets.Notify()
	}
	return err
}

// stop stops accepting and finishes the scrapes in flight, within limits.DrainTimeout. New
// connections wait in the kernel for the next process if the service manager holds the
// listeners. A second signal ends it at once.
func (d *daemon) stop(sig os.Signal) error {
	status := fmt.Sprintf("stopping, with %d requests in flight to finish", d.server.Requests())
	d.log.Info(status, "signal", sig.String())
	d.manager.Stopping(status, limits.DrainIdleTimeout+limits.DrainTimeout+time.Second)
	drained := make(chan int, 1)
	go func() { drained <- d.server.Drain() }()
	select {
	case cut := <-drained:
		if cut > 0 {
			d.log.Warn("requests were cut off", "count", cut, "after", limits.DrainTimeout)
		}
		d.log.Info("stopped")
		return nil
	case sig := <-d.stops:
		d.server.Close()
		return fmt.Errorf("stopped at once by a second signal (%v)", sig)
	}
}
