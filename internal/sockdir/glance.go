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

// glancer looks at a folder's sockets without a worker, where its file system
// cannot hang: where whatever is asked of it is answered by this machine's own
// memory and disks. That costs a fifth less for each scrape (see package nowait).
//
// It trusts a mount only when a worker has judged it, and looks at which mount the
// folder is before it looks into it. So a file system that is mounted over the
// folder later, and hangs, meets a worker.
type glancer struct {
	folder string
	near   atomic.Uint64 // the mount (STATX_MNT_ID_UNIQUE) that was judged not to hang; 0 if none was
	far    atomic.Uint64 // the device that was last judged otherwise
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
	mount := g.near.Load()
	if mount == 0 {
		return ID{}, false
	}
	var st unix.Statx_t
	// Of a mount's root it is not asked of the file system which mount it is.
	err := nowait.Statx(g.folder, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID_UNIQUE, &st)
	if err != nil || mountOf(&st) != mount {
		g.near.CompareAndSwap(mount, 0)
		return ID{}, false
	}
	err = nowait.Statx(path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID_UNIQUE, &st)
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

// judged reports whether it is known what to think of the mount on which id was
// just found in the folder.
func (g *glancer) judged(id ID) bool {
	return g.near.Load() != 0 || g.far.Load() == id.dev
}

// judge judges the mount that the folder is on, where id was just found. It may
// hang.
func (g *glancer) judge(id ID) {
	if mount := g.mount(); mount != 0 {
		g.near.Store(mount)
	} else {
		g.far.Store(id.dev)
	}
}

// mount returns the mount that the folder is on, if that is near, and what leads
// there; otherwise 0.
func (g *glancer) mount() uint64 {
	fd, err := unix.Open(g.folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return 0
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || !near(&fs) {
		return 0
	}
	resolved, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || !leadsNear(resolved) || !leadsNear(g.folder) {
		return 0
	}
	return mountOf(&st)
}

// leadsNear reports whether all folders that path is in are near.
func leadsNear(path string) bool {
	for {
		parent := filepath.Dir(path)
		if parent == path {
			return true
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(parent, &fs); err != nil || !near(&fs) {
			return false
		}
		path = parent
	}
}

func near(fs *unix.Statfs_t) bool { return slices.Contains(nearby, uint32(fs.Type)) }
