package socketdir

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
)

// isHidden reports whether id stands for all users or groups that have no number in this process' user
// namespace, as with PrivateUsers=true (proc(5), /proc/sys/fs/overflowuid).
func isHidden(id uint32) bool {
	if id != 65534 {
		return false
	}
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(data)), " ") != "0 0 4294967295"
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
	text := "user " + withNumber(userName, uint32(os.Geteuid())) + ", groups"
	for _, gid := range currentGroups() {
		text += " " + withNumber(groupName, gid)
	}
	return text
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
