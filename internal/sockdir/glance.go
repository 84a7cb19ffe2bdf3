package sockdir

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/nowait"
)

// glancer looks at a folder's sockets, and connects to them, without a worker where
// its file system cannot hang: where whatever is asked of it is answered by this
// machine's own memory and disks. That costs a fifth less for each scrape (see package
// nowait).
//
// It trusts what a worker has judged, and that only until something is mounted or
// unmounted anywhere: what hangs is then met by a worker, be it over the folder or
// over what leads there. Aegis hears of a mount when it next waits for anything, which
// leaves the moment until then: a file system that hangs in the moment in which it is
// mounted is what the watchdog is for.
type glancer struct {
	folder  string // absolute, without . and ..
	mounts  *mountWatch
	verdict atomic.Pointer[verdict] // nil before the first
}

// verdict is what a worker found.
type verdict struct {
	mount   uint64 // that the folder is on (STATX_MNT_ID_UNIQUE); 0 if a look at it may hang
	changes uint64 // of mounts, when that was found
}

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
	return glance(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, mount)
}

// dial connects to the socket at path, which is in the folder, and returns which that
// is. It reports false if somebody with more time has to, were it only to say why that
// fails.
func (g *glancer) dial(path string) (reached, bool) {
	mount := g.near()
	if mount == 0 {
		return reached{}, false
	}
	at, err := nowait.Open(path, unix.O_NOFOLLOW)
	if err != nil {
		return reached{}, false
	}
	defer nowait.Close(at)
	id, ok := glance(at, "", unix.AT_EMPTY_PATH, mount)
	if !ok {
		return reached{}, false
	}
	fd, err := nowait.Connect(descriptorPath(at))
	if err != nil {
		return reached{}, false
	}
	conn, err := connection(fd)
	return reached{conn, id}, err == nil
}

// glance returns the identity of the socket at path. It reports false if it is none,
// or on another mount.
func glance(dir int, path string, flags int, mount uint64) (ID, bool) {
	var st unix.Statx_t
	err := nowait.Statx(dir, path, flags|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID_UNIQUE, &st)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || mountOf(&st) != mount {
		return ID{}, false
	}
	return ID{
		dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino,
		ctime: st.Ctime.Sec, nsec: int64(st.Ctime.Nsec),
	}, true
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
// may, or that is not known.
func (g *glancer) near() uint64 {
	if v := g.verdict.Load(); v != nil && v.changes == g.mounts.changes() {
		return v.mount
	}
	return 0
}

// judged reports whether it is known what to think of the folder.
func (g *glancer) judged() bool {
	v := g.verdict.Load()
	return v != nil && v.changes == g.mounts.changes()
}

// judge finds what to think of the folder, which is there. It may hang.
func (g *glancer) judge() {
	v := verdict{changes: g.mounts.changes()}
	err := g.mounts.err
	if err == nil {
		v.mount, err = g.mount()
	}
	if !exhausted(err) { // Else it may be otherwise next time.
		g.verdict.Store(&v)
	}
}

// mount returns the mount that the folder is on, if that is near, and all that leads
// there; otherwise 0. An error says why neither is known.
func (g *glancer) mount() (uint64, error) {
	fd, err := unix.Open(g.folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return 0, err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || !isNear(&fs) {
		return 0, err
	}
	// A link could lead through anything.
	if resolved, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err != nil || resolved != g.folder {
		return 0, err
	}
	if leads, err := leadsNear(g.folder); err != nil || !leads {
		return 0, err
	}
	return mountOf(&st), nil
}

// leadsNear reports whether all folders that path is in are near.
func leadsNear(path string) (bool, error) {
	for parent := filepath.Dir(path); parent != path; path, parent = parent, filepath.Dir(parent) {
		var fs unix.Statfs_t
		if err := unix.Statfs(parent, &fs); err != nil || !isNear(&fs) {
			return false, err
		}
	}
	return true, nil
}

func isNear(fs *unix.Statfs_t) bool { return slices.Contains(nearby, uint32(fs.Type)) }
