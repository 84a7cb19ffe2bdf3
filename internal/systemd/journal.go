// Package systemd speaks the service manager's protocols, on go-systemd. It
// knows nothing of what Aegis is for, and without systemd it does nothing.
package systemd

import "github.com/coreos/go-systemd/v22/journal"

// StderrIsJournal reports whether standard error goes to the journal, which
// stamps each line with the time and reads its level from a prefix such as <4>
// (sd-daemon(3); JOURNAL_STREAM in systemd.exec(5)).
func StderrIsJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}
