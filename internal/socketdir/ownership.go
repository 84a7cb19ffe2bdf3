package socketdir

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Ownership is the owner, group and mode of an entry.
type Ownership struct {
	// Owner and Group are names, or numbers that have no name, or Hidden. They are empty
	// if the entry is gone or Aegis may not look it up.
	Owner, Group string
	// Mode has the permission bits of chmod(1).
	Mode uint32
}

// Hidden stands for an owner or group that has no number in Aegis' user namespace, as
// with PrivateUsers=true.
const Hidden = "hidden"

// Ownership returns the ownership of each of the entries, in the same order. The File of
// an entry outside the directory is an absolute path. The error wraps ErrTimeout.
func (d Dir) Ownership(ctx context.Context, entries []Entry) ([]Ownership, error) {
	ownership := func() ([]Ownership, error) { return d.ownership(entries), nil }
	return runWithDeadline(ctx, d, ownership, nil)
}

func (d Dir) ownership(entries []Entry) []Ownership {
	hidesOverflow := inUserNamespace()
	owner, group := cacheNames(userName, hidesOverflow), cacheNames(groupName, hidesOverflow)
	all := make([]Ownership, len(entries))
	for i, e := range entries {
		path := e.File
		if !filepath.IsAbs(path) {
			path = d.path + "/" + path
		}
		var st unix.Stat_t
		if retryEINTR(func() error { return unix.Lstat(path, &st) }) == nil {
			all[i] = Ownership{owner(st.Uid), group(st.Gid), st.Mode & 0o7777}
		}
	}
	return all
}

// overflowID is the number that the kernel shows for an owner or group that has none in
// this process' user namespace (proc(5), /proc/sys/fs/overflowuid).
const overflowID = 65534

// inUserNamespace reports whether this process sees other user numbers than the host, as
// with PrivateUsers=true.
func inUserNamespace() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(data)), " ") != "0 0 4294967295"
}

// cacheNames returns a function like lookup that looks up each name only once. If
// hidesOverflow is true, it returns Hidden for overflowID.
func cacheNames(lookup func(uint32) string, hidesOverflow bool) func(uint32) string {
	names := make(map[uint32]string)
	if hidesOverflow {
		names[overflowID] = Hidden
	}
	return func(id uint32) string {
		name, ok := names[id]
		if !ok {
			name = lookup(id)
			names[id] = name
		}
		return name
	}
}

// userName returns the name of a user, or the number if there is no name.
func userName(uid uint32) string {
	id := fmt.Sprint(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// groupName returns the name of a group, or the number if there is no name.
func groupName(gid uint32) string {
	id := fmt.Sprint(gid)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// withNumber returns NAME(id), or only the number if lookup finds no name.
func withNumber(lookup func(uint32) string, id uint32) string {
	name := lookup(id)
	if name == fmt.Sprint(id) {
		return name
	}
	return fmt.Sprintf("%s(%d)", name, id)
}

// CurrentUser describes the user and groups with which this process connects.
func CurrentUser() string {
	var groups []string
	for _, gid := range currentGroups() {
		groups = append(groups, withNumber(groupName, gid))
	}
	user := withNumber(userName, uint32(os.Geteuid()))
	return fmt.Sprintf("user %s, groups %s", user, strings.Join(groups, " "))
}

// currentGroups returns the groups of this process, beginning with the effective one.
func currentGroups() []uint32 {
	all := []uint32{uint32(os.Getegid())}
	supplementary, _ := os.Getgroups()
	for _, gid := range supplementary {
		if !slices.Contains(all, uint32(gid)) {
			all = append(all, uint32(gid))
		}
	}
	return all
}
