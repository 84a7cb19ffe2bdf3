package socketdir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// DeniedError is an ErrDenied that says which permission is missing and how to grant it.
type DeniedError struct {
	Found  string // what is in the way, with its owner, group and mode
	Needs  string // the permission that is missing
	Remedy string // commands and unit settings that grant it to this process
}

// Error describes the failure as that of the running daemon.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("%v: %s, and Aegis runs as %s; %s: %s",
		ErrDenied, e.Found, CurrentUser(), e.Needs, e.Remedy)
}

// Unwrap returns ErrDenied.
func (e *DeniedError) Unwrap() error { return ErrDenied }

// connectDenied explains why Aegis may not connect to the socket at path.
func connectDenied(path string, st *unix.Stat_t) error {
	return &DeniedError{
		Found:  path + " has " + describeOwnership(st),
		Needs:  "connecting needs write permission on the socket and search permission on its directory",
		Remedy: connectRemedy(path, st),
	}
}

// connectRemedy returns what lets Aegis connect to the socket at path.
func connectRemedy(path string, st *unix.Stat_t) string {
	const ownerWrite, groupWrite = 0o200, 0o020
	file, dir := ShellQuote(path), filepath.Dir(path)
	shared := st.Gid
	if !isMember(shared) {
		var dirStat unix.Stat_t
		unix.Stat(dir, &dirStat) // If that fails, no group is better than another.
		shared = sharedGroup(dirStat.Gid)
	}
	var commands []string
	if st.Uid == uint32(os.Geteuid()) {
		if st.Mode&ownerWrite == 0 {
			commands = append(commands, "chmod u+w "+file)
		}
	} else {
		if shared != st.Gid {
			commands = append(commands, "chgrp "+groupName(shared)+" "+file)
		}
		if st.Mode&groupWrite == 0 {
			commands = append(commands, "chmod g+w "+file)
		}
	}
	if len(commands) == 0 {
		return "the socket's own permissions suffice: chmod g+x " + ShellQuote(dir) +
			", unless a security module (AppArmor, SELinux) forbids the connection"
	}
	return strings.Join(commands, " && ") + "; to make that permanent, set Group=" + groupName(shared) +
		" and UMask=0007 in the service's unit"
}

// searchDenied explains why Aegis may not look up path: the directory itself, an entry of it, or
// another path of the operator's. It names the nearest directory above that Aegis can see.
func (d Dir) searchDenied(path string) error {
	blocked := d.path
	if path != d.path && !strings.HasPrefix(path, d.path+"/") {
		blocked = filepath.Dir(path)
	}
	var st unix.Stat_t
	for unix.Stat(blocked, &st) != nil && blocked != filepath.Dir(blocked) {
		blocked = filepath.Dir(blocked)
	}
	e := &DeniedError{
		Found:  "looking up " + path + ": the directory " + blocked + " has " + describeOwnership(&st),
		Needs:  "that needs search permission on every parent directory",
		Remedy: "chmod o+x " + ShellQuote(blocked),
	}
	if blocked == d.path {
		e.Needs = "that needs search and read permission on the directory of sockets"
		e.Remedy = dirRemedy(blocked, &st)
	}
	return e
}

// dirRemedy returns what lets Aegis search and read the directory of sockets.
func dirRemedy(path string, st *unix.Stat_t) string {
	dir := ShellQuote(path)
	switch {
	case st.Uid == uint32(os.Geteuid()):
		return "chmod u+rx " + dir
	case !isMember(st.Gid):
		return "chgrp " + groupName(sharedGroup(st.Gid)) + " " + dir + " && chmod g+rx " + dir
	}
	return "chmod g+rx " + dir
}

// isMember reports whether this process is in the group gid, as far as it can see.
func isMember(gid uint32) bool {
	return slices.Contains(currentGroups(), gid) && !(gid == overflowID && inUserNamespace())
}

// sharedGroup returns the group through which a service should share its socket with
// Aegis: that of the directory if Aegis is a member, else the last of Aegis' groups.
func sharedGroup(dirGroup uint32) uint32 {
	if isMember(dirGroup) {
		return dirGroup
	}
	groups := currentGroups()
	return groups[len(groups)-1]
}

// describeOwnership returns the owner, group and mode in words.
func describeOwnership(st *unix.Stat_t) string {
	describe := func(lookup func(uint32) string, id uint32) string {
		if id == overflowID && inUserNamespace() {
			return "hidden by Aegis' user namespace (ls -l shows it)"
		}
		return withNumber(lookup, id)
	}
	owner, group := describe(userName, st.Uid), describe(groupName, st.Gid)
	return fmt.Sprintf("owner %s, group %s, mode %04o", owner, group, st.Mode&0o7777)
}

// ShellQuote returns s quoted, if necessary, so that a shell reads it as a single word.
func ShellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-@:+=,"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
