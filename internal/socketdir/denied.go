package socketdir

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// overflowID is how the kernel shows an owner or group that has no number in
// this process' user namespace (proc(5), /proc/sys/fs/overflowuid).
const overflowID = 65534

// DeniedError is ErrDenied with who may do what, and what mends it.
type DeniedError struct {
	Found  string // to whom what is in the way belongs
	Needs  string // which permission it takes
	Remedy string // commands that give it to this process, and what keeps it so
}

// Error says it all of Aegis as it runs.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("%v: %s and Aegis runs as %s; %s%s", ErrDenied, e.Found, CurrentUser(), e.Needs, e.Remedy)
}

// Unwrap returns ErrDenied.
func (e *DeniedError) Unwrap() error { return ErrDenied }

// deniedSocket says who may connect to a socket, and what lets Aegis do so.
func deniedSocket(s Socket, st *unix.Stat_t) error {
	return &DeniedError{
		Found:  s.path + " is " + ownership(st),
		Needs:  "connecting needs write permission on the socket and search permission on its folder; ",
		Remedy: remedy(s.path, st),
	}
}

// remedy is what lets Aegis write to the socket at path.
func remedy(path string, st *unix.Stat_t) string {
	const (
		owner = 0o200
		group = 0o020
	)
	shared := st.Gid
	if !isOurs(shared) {
		var folder unix.Stat_t
		unix.Stat(filepath.Dir(path), &folder) // Without it no group is better than another.
		shared = sharedGroup(folder.Gid)
	}
	var commands []string
	switch {
	case st.Uid == uint32(os.Geteuid()):
		if st.Mode&owner == 0 {
			commands = append(commands, "chmod u+w "+ShellQuote(path))
		}
	case shared != st.Gid:
		commands = append(commands, "chgrp "+plainGroup(shared)+" "+ShellQuote(path))
		fallthrough
	default:
		if st.Mode&group == 0 {
			commands = append(commands, "chmod g+w "+ShellQuote(path))
		}
	}
	if len(commands) == 0 {
		return "the socket's own permissions are no hindrance: chmod g+x " + ShellQuote(filepath.Dir(path)) + ", or a security module (AppArmor, SELinux) forbids it"
	}
	return strings.Join(commands, " && ") + "; and so that it stays so, Group=" + plainGroup(shared) + " and UMask=0007 in the service's unit"
}

// denied says that path, in or of the folder, cannot be reached, and which
// folder is in the way: the nearest that can be seen at all.
func (f Dir) denied(path string) error {
	way := f.path
	if path != f.path && !strings.HasPrefix(path, f.path+"/") {
		way = filepath.Dir(path)
	}
	var st unix.Stat_t
	for unix.Stat(way, &st) != nil && way != filepath.Dir(way) {
		way = filepath.Dir(way)
	}
	e := &DeniedError{
		Found:  "looking at " + path + ": the folder " + way + " is " + ownership(&st),
		Needs:  "that needs search permission on each folder above: ",
		Remedy: "chmod o+x " + ShellQuote(way),
	}
	if way == f.path {
		e.Needs, e.Remedy = "that needs search and read permission on the folder of sockets: ", folderRemedy(way, &st)
	}
	return e
}

// folderRemedy is what lets Aegis search and read the folder of sockets.
func folderRemedy(path string, st *unix.Stat_t) string {
	switch {
	case st.Uid == uint32(os.Geteuid()):
		return "chmod u+rx " + ShellQuote(path)
	case !isOurs(st.Gid):
		return "chgrp " + plainGroup(sharedGroup(st.Gid)) + " " + ShellQuote(path) + " && chmod g+rx " + ShellQuote(path)
	}
	return "chmod g+rx " + ShellQuote(path)
}

// isOurs reports whether this process is in the group gid, as far as can be seen.
func isOurs(gid uint32) bool {
	return slices.Contains(groups(), gid) && !(gid == overflowID && inUserNamespace())
}

// sharedGroup is the group that a socket and Aegis are to have in common: that of the
// folder, if Aegis is in it.
func sharedGroup(folder uint32) uint32 {
	if isOurs(folder) {
		return folder
	}
	mine := groups()
	return mine[len(mine)-1]
}

// ShellQuote is s as a shell takes it for one word.
func ShellQuote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-@:+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func ownership(st *unix.Stat_t) string {
	owner, group := userName(st.Uid), groupName(st.Gid)
	if inUserNamespace() {
		const hidden = "hidden by Aegis' user namespace (ls -l shows it)"
		if st.Uid == overflowID {
			owner = hidden
		}
		if st.Gid == overflowID {
			group = hidden
		}
	}
	return fmt.Sprintf("owner %s, group %s, mode %04o", owner, group, st.Mode&0o7777)
}

// CurrentUser says as which user and groups this process connects.
func CurrentUser() string {
	var names []string
	for _, gid := range groups() {
		names = append(names, groupName(gid))
	}
	return fmt.Sprintf("user %s, groups %s", userName(uint32(os.Geteuid())), strings.Join(names, " "))
}

// groups returns the groups of this process, the effective one first.
func groups() []uint32 {
	all := []uint32{uint32(os.Getegid())}
	supplementary, _ := os.Getgroups()
	for _, gid := range supplementary {
		if !slices.Contains(all, uint32(gid)) {
			all = append(all, uint32(gid))
		}
	}
	return all
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username + "(" + id + ")"
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if name := plainGroup(gid); name != id {
		return name + "(" + id + ")"
	}
	return id
}

// plainGroup is a group as commands take it.
func plainGroup(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// inUserNamespace reports whether this process sees numbers other than the
// host's, as under PrivateUsers=true.
func inUserNamespace() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(data)), " ") != "0 0 4294967295"
}
