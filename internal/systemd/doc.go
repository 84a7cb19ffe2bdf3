// Package systemd speaks the service manager's protocols, on go-systemd: socket
// activation (sd_listen_fds(3)), readiness, status, reload and watchdog
// (sd_notify(3), sd_watchdog_enabled(3)), and the journal's lines
// (sd-daemon(3)).
//
// It knows nothing of what Aegis is for. Without systemd it does nothing.
package systemd
