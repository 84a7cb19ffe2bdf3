package socketdir

import (
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/rawsys"
)

// glancer looks at a folder's sockets, and connects to them, without a worker where
// its file system cannot hang: where whatever is asked of it is answered by this
// machine's own memory and disks. That costs a fifth less for each scrape (see package
// nowait).
//
// It trusts what was judged while each folder on the way there is one and the same
// mount's: what is mounted over any of them, or a link in the place of one, and hangs,
// is then met by a worker. It looks for that as often as it looks for a socket, but not
// more often than once in limits.GlanceAge.
type glancer struct {
	folder  string                  // absolute, without . and ..
	verdict atomic.Pointer[verdict] // nil before the first
	held    atomic.Int64            // when the verdict was last seen to hold, in nanoseconds from began
	judging atomic.Bool
}

// verdict is what was found.
type verdict struct {
	way   []step    // to the folder, which is the last; empty if a look at it may hang
	until time.Time // when it is to be found anew; zero if only after a change
}

// step is a folder on the way to another, and the mount that it is on.
type step struct {
	path  string
	mount uint64 // STATX_MNT_ID_UNIQUE: a number that is never given again
}

// began is a time that others are counted from.
var began = time.Now()

// nearby is which file systems ask nobody else. An overlay may lie over one that does.
var nearby = []uint32{
	unix.BCACHEFS_SUPER_MAGIC,
	unix.BTRFS_SUPER_MAGIC,
	unix.EXT4_SUPER_MAGIC, // also that of ext2 and ext3
	unix.F2FS_SUPER_MAGIC,
	unix.RAMFS_MAGIC,
	unix.TMPFS_MAGIC,
	unix.XFS_SUPER_MAGIC,
	0x2fc12fc1, // ZFS
}

// look returns the identity of the socket at path, which is in the folder. It
// reports false if somebody with more time has to look.
func (g *glancer) look(path string) (ID, bool) {
	mount := g.near()
	if mount == 0 {
		return ID{}, false
	}
	return g.glance(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, mount)
}

// dial connects to the socket at path, which is in the folder, and returns which that
// is. It reports false if somebody with more time has to, were it only to say why that
// fails.
func (g *glancer) dial(path string) (reached, bool) {
	mount := g.near()
	if mount == 0 {
		return reached{}, false
	}
	at, err := rawsys.Open(path, unix.O_NOFOLLOW)
	if err != nil {
		return reached{}, false
	}
	defer rawsys.Close(at)
	id, ok := g.glance(at, "", unix.AT_EMPTY_PATH, mount)
	if !ok {
		return reached{}, false
	}
	fd, err := rawsys.Connect(descriptorPath(at))
	if err != nil {
		return reached{}, false
	}
	conn, err := connection(fd)
	return reached{conn, id}, err == nil
}

// glance returns the identity of the socket at path. It reports false if it is none,
// or on another mount than the folder was.
func (g *glancer) glance(dir int, path string, flags int, mount uint64) (ID, bool) {
	var st unix.Statx_t
	if err := statx(dir, path, flags, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || mountOf(&st) != mount {
		return ID{}, false
	}
	return ID{
		dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino,
		ctime: st.Ctime.Sec, nsec: int64(st.Ctime.Nsec),
	}, true
}

func statx(dir int, path string, flags int, st *unix.Statx_t) error {
	return rawsys.Statx(dir, path, flags|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID_UNIQUE, st)
}

// mountOf returns the mount of which st is; 0 if the kernel, before Linux 6.8, has
// no name for mounts that is never given again.
func mountOf(st *unix.Statx_t) uint64 {
	if st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		return 0
	}
	return st.Mnt_id
}

// near returns the mount that the folder is on, if nothing there can hang; 0 if it
// may, or that is not known, which is found out then.
func (g *glancer) near() uint64 {
	v, now := g.verdict.Load(), time.Since(began)
	if v != nil && now-time.Duration(g.held.Load()) < limits.GlanceAge {
		return v.mount()
	}
	if v == nil || !v.holds() {
		g.judge()
		return 0
	}
	g.held.Store(int64(now))
	return v.mount()
}

// mount returns the mount that the folder is on; 0 if a look at it may hang.
func (v *verdict) mount() uint64 {
	if len(v.way) == 0 {
		return 0
	}
	return v.way[len(v.way)-1].mount
}

// holds reports whether nothing has changed since v was found. It cannot hang: each
// step is looked at by way of those before it, and of a mount's root it is not asked
// of the file system which mount it is.
func (v *verdict) holds() bool {
	for _, s := range v.way {
		var st unix.Statx_t
		if statx(unix.AT_FDCWD, s.path, unix.AT_SYMLINK_NOFOLLOW, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || mountOf(&st) != s.mount {
			return false
		}
	}
	return v.until.IsZero() || time.Now().Before(v.until)
}

// judge finds what to think of the folder, sooner or later: that may hang.
func (g *glancer) judge() {
	if !g.judging.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer g.judging.Store(false)
		v := verdict{way: way(g.folder)}
		if len(v.way) == 0 {
			v.until = time.Now().Add(limits.JudgeAgain)
		}
		g.verdict.Store(&v)
	}()
}

// way returns the folders that lead to folder, the root first, and that last; none
// unless all of them are near, and no links, which could lead through anything.
func way(folder string) (steps []step) {
	for path := folder; ; path = filepath.Dir(path) {
		s := step{path: path, mount: nearMount(path)}
		if s.mount == 0 {
			return nil
		}
		steps = append(steps, s)
		if path == filepath.Dir(path) {
			slices.Reverse(steps)
			return steps
		}
	}
}

// nearMount returns the mount that the folder at path is on, 0 if that is not known to
// be near, or it is no folder.
func nearMount(path string) uint64 {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || !isNear(&fs) {
		return 0
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return 0
	}
	return mountOf(&st)
}

func isNear(fs *unix.Statfs_t) bool { return slices.Contains(nearby, uint32(fs.Type)) }
