package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/sockdir"
	"tulpa.dev/cadey/aegis/internal/systemd"
	"tulpa.dev/cadey/aegis/internal/web"
)

// daemon is Aegis at work: start, READY, signals, drain, end.
type daemon struct {
	listeners []net.Listener
	web       *web.Server
	http      *http.Server
	manager   *systemd.Manager
	signals   <-chan os.Signal
	log       *slog.Logger

	ended chan error   // an element for each listener that is served no more
	conns atomic.Int64 // open connections of clients
}

func newDaemon(listeners []net.Listener, s settings, signals <-chan os.Signal, log *slog.Logger) *daemon {
	d := &daemon{
		listeners: listeners, signals: signals, log: log,
		ended:   make(chan error, len(listeners)),
		manager: systemd.NewManager(func(err error) { log.Warn("service manager", "error", err) }),
		web: web.New(web.Config{
			Folder: sockdir.Folder(s.sockdir), Log: log, Version: version, Revision: buildRevision(),
		}),
	}
	d.http = d.web.HTTPServer()
	d.http.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			d.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			d.conns.Add(-1)
		}
	}
	for _, l := range listeners {
		log.Info("serving", "address", l.Addr().String(), "sockdir", s.sockdir, "version", version)
		go func() { d.ended <- d.http.Serve(d.web.Allow(l, s.allow)) }()
	}
	return d
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
	for {
		select {
		case err := <-d.ended:
			return fmt.Errorf("serving: %w", err)
		case sig := <-d.signals:
			if sig != syscall.SIGHUP {
				return d.stop(sig)
			}
			d.reload()
		}
	}
}

// reload re-reads what can be re-read: the folder, and which connections to
// services still lead anywhere. Listeners and scrapes are not touched.
func (d *daemon) reload() {
	d.manager.Reloading()
	done := make(chan error, 1)
	go func() { done <- d.web.Reload() }()
	var err error
	select {
	case err = <-done:
	case <-time.After(limits.Reload):
		err = errors.New("the folder's file system does not answer")
	}
	status := "reloaded"
	if err != nil {
		status = fmt.Sprintf("reload failed, all stays as it was: %v", err)
		d.log.Warn("reload failed, all stays as it was", "error", err)
	} else {
		d.log.Info(status)
	}
	d.manager.Ready(status)
}

// stop stops accepting and finishes the scrapes under way, within limits.Drain.
// New connections wait in the kernel for the next process if the service
// manager holds the listeners. A second signal ends it at once.
func (d *daemon) stop(sig os.Signal) error {
	status := fmt.Sprintf("stopping: finishing %d scrapes under way", d.web.InFlight())
	d.log.Info(status, "signal", sig.String())
	d.manager.Stopping(status, limits.DrainGrace+limits.Drain+time.Second)
	drained := make(chan bool, 1)
	go func() { drained <- d.drain() }()
	for {
		select {
		case whole := <-drained:
			if !whole {
				d.log.Warn("stopped with scrapes still under way", "after", limits.Drain)
			}
			d.log.Info("stopped")
			return nil
		case sig := <-d.signals:
			if sig != syscall.SIGHUP {
				d.http.Close()
				return fmt.Errorf("stopped at once by a second signal (%v)", sig)
			}
		}
	}
}

// drain ends every connection of a client without losing a request, as far as
// that can be done, and reports whether all scrapes were finished.
//
// Closing a kept connection just when its next request arrives loses that
// request. So for a short while each client is told, with an answer, that the
// connection ends; only what is idle after that is closed unasked.
func (d *daemon) drain() bool {
	d.web.Drain()
	for _, l := range d.listeners {
		l.Close()
	}
	for range d.listeners {
		<-d.ended
	}
	for end := time.Now().Add(limits.DrainGrace); d.conns.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limits.Drain)
	defer cancel()
	err := d.http.Shutdown(ctx)
	if err != nil {
		d.http.Close()
	}
	d.web.Close()
	return err == nil
}
