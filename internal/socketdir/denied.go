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
		Needs:  "connecting needs write permission on the socket",
		Remedy: connectRemedy(path, st),
	}
}

// Bits of a mode.
const (
	ownerWrite  = 0o200
	groupRead   = 0o040
	groupWrite  = 0o020
	groupSearch = 0o010
	groupBits   = 0o070
)

// connectRemedy returns what lets Aegis connect to the socket at path, and takes it from nobody.
func connectRemedy(path string, st *unix.Stat_t) string {
	file, isOwner := ShellQuote(path), st.Uid == uint32(os.Geteuid())
	switch {
	case isOwner && st.Mode&ownerWrite == 0:
		return "chmod u+w " + file
	case isOwner, isMember(st.Gid) && st.Mode&groupWrite != 0:
		return "its mode suffices, so an ACL (getfacl) or a security module (AppArmor, SELinux) forbids it"
	case isMember(st.Gid):
		return "chmod g+w " + file + "; to make that permanent, set UMask=0007 in the service's unit"
	case st.Mode&groupWrite != 0 && st.Gid != 0:
		return joinGroup(st.Gid)
	}
	var dir unix.Stat_t
	unix.Stat(filepath.Dir(path), &dir) // If that fails, no group is better than another.
	group := groupName(sharedGroup(dir.Gid))
	return fmt.Sprintf("chgrp %s %s && chmod g+w %s; to make that permanent, set SupplementaryGroups=%s and"+
		" UMask=0007 in the service's unit, and let its socket be in a directory of group %s and mode 2770",
		group, file, file, group, group)
}

// joinGroup returns how to add Aegis to the group gid, whose members may do what Aegis may not.
func joinGroup(gid uint32) string {
	group := groupName(gid)
	if isHidden(gid) {
		group = "GROUP"
	}
	if IsService() {
		return "set SupplementaryGroups=" + group + " " + inUnit
	}
	return fmt.Sprintf("usermod -aG %s %s, and start Aegis again", group, userName(uint32(os.Geteuid())))
}

// searchDenied explains why Aegis may not look up path: the directory itself, an entry of it, or
// another path of the operator's. It names the nearest directory above that Aegis can see.
func (d Dir) searchDenied(path string) error {
	if err := checkHidden(path); err != nil {
		return err
	}
	blocked, st := nearest(path)
	e := &DeniedError{
		Found:  "looking up " + path + ": the directory " + blocked + " has " + describeOwnership(&st),
		Needs:  "that needs search permission on every parent directory",
		Remedy: grant(blocked, &st, "x", groupSearch),
	}
	if blocked == d.path {
		e.Needs = "that needs search and read permission on the directory of sockets"
		e.Remedy = grant(blocked, &st, "rx", groupRead|groupSearch)
	}
	return e
}

// ReadRemedy returns what lets Aegis read the file at path, which it may not.
func ReadRemedy(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	blocked, st := nearest(path)
	if blocked != path {
		return grant(blocked, &st, "x", groupSearch)
	}
	return grant(blocked, &st, "r", groupRead)
}

// nearest returns the path or, if Aegis may not look it up, the nearest directory above that it can see.
func nearest(path string) (string, unix.Stat_t) {
	var st unix.Stat_t
	for unix.Stat(path, &st) != nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
	}
	return path, st
}

// grant returns what gives Aegis a permission on a file or directory; for its group, that is bits of the
// mode. It takes the file from nobody, and opens it only to Aegis and the file's own group.
func grant(path string, st *unix.Stat_t, permission string, bits uint32) string {
	file, user := ShellQuote(path), userName(uint32(os.Geteuid()))
	unshared := st.Gid == 0 || st.Mode&groupBits == 0
	switch {
	case st.Uid == uint32(os.Geteuid()):
		return "chmod u+" + permission + " " + file
	case isMember(st.Gid):
		return "chmod g+" + permission + " " + file
	case st.Mode&bits == bits && !unshared:
		return joinGroup(st.Gid)
	case unshared && permission == "rx": // the directory of sockets, which services share
		return fmt.Sprintf("chgrp %s %s && chmod g+rxs %s", groupName(sharedGroup(st.Gid)), file, file)
	case unshared && permission == "r" && st.Uid == 0:
		return "chown " + user + " " + file
	}
	return "setfacl -m u:" + user + ":" + permission + " " + file
}

// isMember reports whether this process is in the group gid, as far as it can see.
func isMember(gid uint32) bool {
	return slices.Contains(currentGroups(), gid) && !isHidden(gid)
}

// isHidden reports whether id stands for users or groups that have no number in this process' user
// namespace.
func isHidden(id uint32) bool { return id == overflowID && inUserNamespace() }

// sharedGroup returns the group through which a service should share its socket with
// Aegis: that of the directory if Aegis is a member, else the last of Aegis' groups that it can name.
func sharedGroup(dirGroup uint32) uint32 {
	if isMember(dirGroup) {
		return dirGroup
	}
	groups := currentGroups()
	named := slices.DeleteFunc(slices.Clone(groups[1:]), isHidden)
	return append(groups[:1], named...)[len(named)]
}

// describeOwnership returns the owner, group and mode in words.
func describeOwnership(st *unix.Stat_t) string {
	describe := func(lookup func(uint32) string, id uint32) string {
		if isHidden(id) {
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
