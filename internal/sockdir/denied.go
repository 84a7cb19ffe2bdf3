package sockdir

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

// deniedSocket says who may connect to a socket, who Aegis is, and what mends it.
func deniedSocket(s Socket, st *unix.Stat_t) error {
	return fmt.Errorf("%w: %s is %s and Aegis runs as %s; connecting needs write permission on the socket and search permission on its folder; %s",
		ErrDenied, s.path, ownership(st), Whoami(), remedy(s.path, st))
}

// remedy is what lets Aegis write to the socket at path.
func remedy(path string, st *unix.Stat_t) string {
	const (
		owner = 0o200
		group = 0o020
		last  = "; and so that it stays so, Group= and UMask=0007 in the service's unit"
	)
	var commands []string
	mine := groups()
	switch {
	case st.Uid == uint32(os.Geteuid()):
		if st.Mode&owner == 0 {
			commands = append(commands, "chmod u+w "+path)
		}
	case !slices.Contains(mine, st.Gid) || st.Gid == overflowID && inUserNamespace():
		commands = append(commands, "chgrp "+plainGroup(mine[len(mine)-1])+" "+path)
		fallthrough
	default:
		if st.Mode&group == 0 {
			commands = append(commands, "chmod g+w "+path)
		}
	}
	if len(commands) == 0 {
		return "the socket's own permissions are no hindrance: chmod g+x " + filepath.Dir(path) + ", or a security module (AppArmor, SELinux) forbids it"
	}
	return strings.Join(commands, " && ") + last
}

// denied says that path, in or of the folder, cannot be reached, and which
// folder is in the way: the nearest that can be seen at all.
func (f Folder) denied(path string) error {
	way := f.path
	if path != f.path && !strings.HasPrefix(path, f.path+"/") {
		way = filepath.Dir(path)
	}
	var st unix.Stat_t
	for unix.Stat(way, &st) != nil && way != filepath.Dir(way) {
		way = filepath.Dir(way)
	}
	remedy := "search permission on each folder above: chmod o+x " + way
	if way == f.path {
		remedy = "search and read permission on the folder of sockets: " + folderRemedy(way, &st)
	}
	return fmt.Errorf("%w: looking at %s: the folder %s is %s and Aegis runs as %s; that needs %s", ErrDenied, path, way, ownership(&st), Whoami(), remedy)
}

// folderRemedy is what lets Aegis search and read the folder of sockets.
func folderRemedy(path string, st *unix.Stat_t) string {
	mine := groups()
	switch {
	case st.Uid == uint32(os.Geteuid()):
		return "chmod u+rx " + path
	case !slices.Contains(mine, st.Gid) || st.Gid == overflowID && inUserNamespace():
		return "chgrp " + plainGroup(mine[len(mine)-1]) + " " + path + " && chmod g+rx " + path
	}
	return "chmod g+rx " + path
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

// Whoami says as which user and groups this process connects.
func Whoami() string {
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
