package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	exporterweb "github.com/prometheus/exporter-toolkit/web"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/systemd"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
	"tulpa.dev/cadey/aegis/internal/web"
)

// daemon is Aegis at work: start, READY, signals, drain, end.
type daemon struct {
	process
	settings
	listeners []net.Listener
	web       *web.Server
	servers   []*http.Server // one for each listener
	guard     webGuard
	manager   *systemd.Manager
	log       *slog.Logger
	ended     chan error // an element for each listener that is served no more
}

func newDaemon(listeners []net.Listener, s settings, p process, log *slog.Logger) *daemon {
	d := &daemon{
		process: p, settings: s, listeners: listeners, log: log,
		ended:   make(chan error, len(listeners)),
		guard:   webGuard{s.webConfigFile, s.webConfig, newPasswords(log), make(chan struct{}, limits.Refusals)},
		manager: systemd.NewManager(func(err error) { log.Warn("service manager", "error", err) }),
		web: web.New(web.Config{
			Folder: socketdir.New(s.sockdir), Targets: s.targets, Log: log, Version: version, Revision: buildRevision(),
		}),
	}
	d.warnOfCertificates(s.targets)
	d.warnOfExpiry(s.webConfig)
	for _, l := range listeners {
		log.Info("serving", "address", l.Addr().String(), "sockdir", s.sockdir, "version", version)
		server := d.web.HTTPServer()
		d.servers = append(d.servers, server)
		go func() { d.ended <- d.serve(d.web.Guard(l, s.allow), server) }()
	}
	return d
}

// warnOfCertificates logs which targets nobody gets at by a certificate, as none is
// verified.
func (d *daemon) warnOfCertificates(file targetsfile.File) {
	if verifies(d.webConfig.TLSConfig.ClientAuth) {
		return
	}
	for _, name := range byCertificate(file) {
		d.log.Warn(certificatesUnverified, "target", name)
	}
}

// serve serves l, as the web configuration says if there is one: that puts its
// own handler before the server's, so each listener has a server of its own; and the
// guard before its own, when it begins to serve.
func (d *daemon) serve(l net.Listener, server *http.Server) error {
	if d.webConfigFile == "" {
		return server.Serve(d.web.Plain(l))
	}
	server.BaseContext = func(net.Listener) context.Context {
		server.Handler = d.web.Streams(d.guard.keep(server.Handler))
		return context.Background()
	}
	return exporterweb.Serve(d.web.Fair(l), server, &exporterweb.FlagConfig{WebConfigFile: &d.webConfigFile}, d.log)
}

// run serves until a signal ends it or a listener fails.
func (d *daemon) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := d.web.Alive(); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	d.manager.Ready("serving")
	go d.manager.Watchdog(ctx, d.web.Alive)
	go d.web.Watch(ctx, d.manager.Status)
	go d.reloads(ctx)
	select {
	case err := <-d.ended:
		return fmt.Errorf("serving: %w", err)
	case sig := <-d.stops:
		return d.stop(sig)
	}
}

// reloads reloads at each hangup, until ctx ends.
func (d *daemon) reloads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.hangups:
			d.reload(ctx)
		}
	}
}

// reload re-reads what can be re-read: the targets file, the folder, and which
// connections to services still lead anywhere. Listeners and scrapes are not
// touched.
func (d *daemon) reload(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, limits.ReloadTimeout)
	defer cancel()
	d.manager.Reloading()
	file, fault := readTargets(d.targetsFile)
	d.web.Retarget(file, fault)
	d.warnOfCertificates(file)
	if fault != nil {
		d.reloadFailed("the targets stay as they were", fault)
	}
	if err := d.checkWebConfig(); err != nil {
		d.reloadFailed("no scraper is served until the file is mended", err)
		return
	}
	if fault != nil {
		return
	}
	if err := d.web.Reload(ctx); err != nil {
		d.reloadFailed("the connections to services stay as they were", err)
		return
	}
	d.log.Info("reloaded")
	d.manager.Ready("reloaded")
}

// checkWebConfig checks the file for TLS and authentication, which is read again and
// again by others.
func (d *daemon) checkWebConfig() error {
	c, err := readWebConfig(d.webConfigFile)
	if err != nil || d.webConfigFile == "" {
		return err
	}
	if err := d.guard.weaker(c); err != nil {
		return fmt.Errorf("%s %w; to ask scrapers for less takes a restart", d.webConfigFile, err)
	}
	if c.TLSConfig.IsEnabled() && !d.webConfig.TLSConfig.IsEnabled() {
		d.log.Warn("there is still no TLS: to turn it on takes a restart", "file", d.webConfigFile)
	}
	d.warnOfExpiry(c)
	return nil
}

// warnOfExpiry logs that the server's certificate has expired, if it has.
func (d *daemon) warnOfExpiry(c exporterweb.Config) {
	if end := expired(d.webConfigFile, c.TLSConfig); !end.IsZero() {
		d.log.Warn(certificateExpired, "certificate", c.TLSConfig.TLSCertPath, "expired", end)
	}
}

func (d *daemon) reloadFailed(so string, err error) {
	d.log.Warn("reload failed, "+so, "error", err)
	d.manager.Ready(fmt.Sprintf("reload failed, %s: %v", so, err))
}

// stop stops accepting and finishes the scrapes under way, within limits.DrainTimeout.
// New connections wait in the kernel for the next process if the service
// manager holds the listeners. A second signal ends it at once.
func (d *daemon) stop(sig os.Signal) error {
	status := fmt.Sprintf("stopping, with %d requests under way to finish", d.web.Requests())
	d.log.Info(status, "signal", sig.String())
	d.manager.Stopping(status, limits.DrainIdleTimeout+limits.DrainTimeout+time.Second)
	drained := make(chan int, 1)
	go func() { drained <- d.drain() }()
	select {
	case cut := <-drained:
		if cut > 0 {
			d.log.Warn("requests were cut off", "requests", cut, "after", limits.DrainTimeout)
		}
		d.log.Info("stopped")
		d.manager.Flush(limits.DrainFlushTimeout)
		return nil
	case sig := <-d.stops:
		d.close()
		return fmt.Errorf("stopped at once by a second signal (%v)", sig)
	}
}

// drain ends every connection of a scraper without losing a request, as far as
// that can be done, and returns how many requests it had to cut off.
//
// Closing a kept connection just when its next request arrives loses that
// request. So for a short while each client is told, with an answer, that the
// connection ends; only what is idle after that is closed unasked, and with it
// what has not yet sent a whole request.
func (d *daemon) drain() (cut int) {
	d.web.Drain()
	for _, l := range d.listeners {
		l.Close()
	}
	d.web.Ended()
	wait(limits.DrainIdleTimeout, func() bool { return d.web.Connections() == 0 })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	closed := make(chan struct{})
	go func() { d.shutdown(ctx); close(closed) }()
	wait(limits.DrainTimeout, func() bool { return d.web.Requests() == 0 })
	cut = d.web.Requests()
	select {
	case <-closed:
	case <-time.After(limits.DrainFlushTimeout):
		d.close()
	}
	d.web.Close()
	return cut
}

// shutdown closes the idle connections of scrapers, and the others as they become
// that, until ctx ends.
func (d *daemon) shutdown(ctx context.Context) {
	var closed sync.WaitGroup
	closed.Go(func() { d.web.Shutdown(ctx) })
	for _, server := range d.servers {
		closed.Go(func() { server.Shutdown(ctx) })
	}
	closed.Wait()
}

// close closes every connection of a scraper.
func (d *daemon) close() {
	d.web.Close()
	for _, server := range d.servers {
		server.Close()
	}
}

// wait waits until done, or for most.
func wait(most time.Duration, done func() bool) {
	for end := time.Now().Add(most); !done() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}
