package socketdir

import (
	"context"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// Ownership is to whom an entry belongs and what they may do with it.
type Ownership struct {
	// Owner and Group are names, numbers where there is no name, Hidden, or
	// empty if the entry is gone or may not be looked at.
	Owner, Group string
	// Mode has the permission bits as chmod(1) takes them.
	Mode uint32
}

// Hidden stands for an owner or group that has no number in Aegis' user
// namespace, as under PrivateUsers=true.
const Hidden = "hidden"

// Ownership returns the access of each of the entries, in their order; File of one
// outside the folder is an absolute path. It is one look, however many they are. The error wraps ErrNoDirectory,
// ErrDenied, ErrBusy or ErrTimeout.
func (f Dir) Ownership(ctx context.Context, entries []Entry) ([]Ownership, error) {
	return patiently(ctx, f, func() ([]Ownership, error) { return f.access(entries) }, nothing)
}

func (f Dir) access(entries []Entry) ([]Ownership, error) {
	d, err := os.Open(f.path)
	if err != nil {
		return nil, f.listError(err)
	}
	defer d.Close()
	accounts := newAccounts()
	all := make([]Ownership, len(entries))
	for i, e := range entries {
		var st unix.Stat_t
		err := ignoringEINTR(func() error {
			return unix.Fstatat(int(d.Fd()), e.File, &st, unix.AT_SYMLINK_NOFOLLOW)
		})
		if err == nil {
			all[i] = Ownership{accounts.user(st.Uid), accounts.group(st.Gid), st.Mode & 0o7777}
		}
	}
	return all, nil
}

// accounts are the names of users and groups, each looked up once.
type accounts struct {
	hides         bool
	users, groups map[uint32]string
}

func newAccounts() accounts {
	return accounts{inUserNamespace(), make(map[uint32]string), make(map[uint32]string)}
}

func (a accounts) user(uid uint32) string {
	return a.name(a.users, uid, func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (a accounts) group(gid uint32) string {
	return a.name(a.groups, gid, func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

func (a accounts) name(known map[uint32]string, number uint32, lookup func(id string) (string, error)) string {
	if a.hides && number == overflowID {
		return Hidden
	}
	name, ok := known[number]
	if !ok {
		id := strconv.FormatUint(uint64(number), 10)
		var err error
		if name, err = lookup(id); err != nil {
			name = id
		}
		known[number] = name
	}
	return name
}
