package socketdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// denied returns an ErrDenied that says which permission is missing and how to grant it to this process. found
// is what is in the way.
func denied(found string, st *unix.Stat_t, needs, remedy string) error {
	describe := func(lookup func(uint32) string, id uint32) string {
		if isHidden(id) {
			return "hidden by Aegis' user namespace (ls -l shows it)"
		}
		return withNumber(lookup, id)
	}
	owner, group := describe(userName, st.Uid), describe(groupName, st.Gid)
	return fmt.Errorf("%w: %s has owner %s, group %s, mode %04o, and Aegis runs as %s; %s: %s",
		ErrDenied, found, owner, group, st.Mode&0o7777, CurrentUser(), needs, remedy)
}

// connectRemedy returns what lets Aegis connect to the socket at path, and takes it from nobody.
func connectRemedy(path string, st *unix.Stat_t) string {
	const ownerWrite, groupWrite, othersWrite = 0o200, 0o020, 0o002
	file, isOwner := ShellQuote(path), st.Uid == uint32(os.Geteuid())
	switch {
	case isOwner && st.Mode&ownerWrite == 0:
		return "chmod u+w " + file
	case !isOwner && hasACL(path):
		return "setfacl -m u:" + userName(uint32(os.Geteuid())) + ":rw " + file
	case isOwner, isMember(st.Gid) && st.Mode&groupWrite != 0, !isMember(st.Gid) && st.Mode&othersWrite != 0:
		return "its mode suffices, so an ACL (getfacl) or a security module (AppArmor, SELinux) forbids it"
	case st.Mode&groupWrite != 0 && st.Gid != 0:
		return joinGroup(st.Gid)
	}
	_, dir := nearest(filepath.Dir(path))
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
	needs, permission := "that needs search permission on every parent directory", "x"
	if blocked == d.path {
		needs, permission = "that needs search and read permission on the directory of sockets", "rx"
	}
	return denied("looking up "+path+": the directory "+blocked, &st, needs, grant(blocked, &st, permission))
}

// ReadRemedy returns what to do about err, with which opening the file at path failed: what lets Aegis read it.
// It returns an empty string if err is about something else.
func ReadRemedy(path string, err error) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if hidden := checkHidden(path); hidden != nil {
		return "; " + hidden.Error()
	} else if !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	blocked, st := nearest(path)
	permission := "r"
	if blocked != path {
		permission = "x"
	}
	return fmt.Sprintf("; Aegis reads it as %s: %s", CurrentUser(), grant(blocked, &st, permission))
}

// nearest returns the path or, if Aegis may not look it up, the nearest directory above that it can see.
func nearest(path string) (string, unix.Stat_t) {
	var st unix.Stat_t
	for unix.Stat(path, &st) != nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
	}
	return path, st
}

// grant returns what gives Aegis a permission: r for a file, rx for the directory of sockets, x for another
// directory. It takes the file from nobody, and opens it only to Aegis and the file's own group.
func grant(path string, st *unix.Stat_t, permission string) string {
	file, user := ShellQuote(path), userName(uint32(os.Geteuid()))
	bits := map[string]uint32{"r": 0o040, "rx": 0o050, "x": 0o010}[permission]
	shared := st.Gid != 0 && st.Mode&0o070 != 0 // by members of its group
	switch {
	case st.Uid == uint32(os.Geteuid()):
		return "chmod u+" + permission + " " + file
	case hasACL(path): // setfacl
	case isMember(st.Gid):
		return "chmod g+" + permission + " " + file
	case shared && st.Mode&bits == bits:
		return joinGroup(st.Gid)
	case !shared && permission == "rx":
		return fmt.Sprintf("chgrp %s %s && chmod g+rxs %s", groupName(sharedGroup(st.Gid)), file, file)
	case !shared && permission == "r" && st.Uid == 0:
		return "chown " + user + " " + file
	}
	return "setfacl -m u:" + user + ":" + permission + " " + file
}

// hasACL reports whether path has an ACL. Its mode says nothing about its group then (acl(5)).
func hasACL(path string) bool {
	_, err := unix.Lgetxattr(path, "system.posix_acl_access", nil)
	return err == nil
}

// isMember reports whether this process is in the group gid, as far as it can see.
func isMember(gid uint32) bool {
	return slices.Contains(currentGroups(), gid) && !isHidden(gid)
}

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

// ShellQuote returns s quoted, if necessary, so that a shell reads it as a single word.
func ShellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-@:+=,"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
