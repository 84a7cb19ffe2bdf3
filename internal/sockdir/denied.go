package sockdir

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// overflowID is how the kernel shows an owner or group that has no number in
// this process' user namespace (proc(5), /proc/sys/fs/overflowuid).
const overflowID = 65534

// deniedSocket says who may connect to a socket and who Aegis is.
func deniedSocket(s Socket, st *unix.Stat_t) error {
	return fmt.Errorf("%w: %s is %s and %s; connecting needs write permission on the socket (chmod g+w, and chgrp to one of these groups) and search permission on its folder",
		ErrDenied, s.path, ownership(st), whoami())
}

// denied says that path cannot be reached because of the folder, or a folder
// above it.
func (f Folder) denied(path string) error {
	what := "a folder above it cannot be searched"
	var st unix.Stat_t
	if unix.Stat(string(f), &st) == nil {
		what = fmt.Sprintf("the folder %s is %s", f, ownership(&st))
	}
	return fmt.Errorf("%w: looking at %s: %s and %s; that needs search and read permission on the folder and search permission on those above", ErrDenied, path, what, whoami())
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

func whoami() string {
	seen := map[uint32]bool{}
	var groups []string
	add := func(gid uint32) {
		if !seen[gid] {
			seen[gid] = true
			groups = append(groups, groupName(gid))
		}
	}
	add(uint32(os.Getegid()))
	supplementary, _ := os.Getgroups()
	for _, gid := range supplementary {
		add(uint32(gid))
	}
	return fmt.Sprintf("Aegis runs as user %s, groups %s", userName(uint32(os.Geteuid())), strings.Join(groups, " "))
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
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name + "(" + id + ")"
	}
	return id
}

// inUserNamespace reports whether this process sees numbers other than the
// host's, as under PrivateUsers=true.
func inUserNamespace() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(data)), " ") != "0 0 4294967295"
}
