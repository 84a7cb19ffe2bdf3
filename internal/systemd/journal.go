package systemd

import "github.com/coreos/go-systemd/v22/journal"

// StderrIsJournal reports whether standard error goes to the journal, which
// stamps each line with the time and reads its level from a prefix such as <4>
// (JOURNAL_STREAM in systemd.exec(5)).
func StderrIsJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}
