// Package systemd implements the service manager's protocols on top of go-systemd: socket
// activation (sd_listen_fds(3)), readiness, status and reload (sd_notify(3)), the watchdog
// (sd_watchdog_enabled(3)), and log lines for the journal (sd-daemon(3)).
//
// It knows nothing about what the program does. Without systemd, its functions do nothing.
package systemd

import "github.com/coreos/go-systemd/v22/journal"

// StderrIsJournal reports whether standard error is connected to the journal (JOURNAL_STREAM in
// systemd.exec(5)). The journal adds the time to each line, and reads its priority from a prefix
// such as <4>.
func StderrIsJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}
