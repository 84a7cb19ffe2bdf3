package sockdir

import (
	"os"
	"sync"
	"sync/atomic"
)

// mounts counts what is mounted and unmounted, wherever this process could come
// across it. There is one for the process, from its first Folder on.
var mounts = sync.OnceValue(watchMounts)

// mountWatch has Go's poller wait for what the kernel tells of /proc/self/mountinfo
// at each change (proc_pid_mounts(5)): so to ask for changes costs no system call.
type mountWatch struct {
	count atomic.Uint64
	err   error // changes cannot be told
}

func watchMounts() *mountWatch {
	w := new(mountWatch)
	info, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		w.err = err
		return w
	}
	raw, err := info.SyscallConn()
	if err != nil {
		w.err = err
		return w
	}
	go raw.Read(func(uintptr) (done bool) {
		w.count.Add(1)
		return false
	})
	return w
}

// changes returns a number that is another after each change, as soon as this process
// has waited for anything since. It may be another without a change.
func (w *mountWatch) changes() uint64 { return w.count.Load() }
