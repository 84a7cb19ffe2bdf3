package socketdir

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// recordedMounts are what the service sees: recorded under systemd 257, with the unit of nix/systemd and
// BindReadOnlyPaths=/var/lib/shown.
const recordedMounts = `1 0 254:0 / / ro,relatime master:1 - ext4 /dev/vda rw
2 1 0:39 / /tmp rw,nosuid,nodev master:2 - tmpfs tmpfs rw,size=2468412k
3 1 0:43 / /run rw,nosuid,nodev master:6 - tmpfs tmpfs rw,mode=755
4 1 0:43 /host/inaccessible/dir /home ro,nosuid,nodev,noexec master:6 - tmpfs tmpfs rw,mode=755
13 3 0:43 /host/inaccessible/dir /run/dbus ro,nosuid,nodev,noexec master:6 - tmpfs tmpfs rw,mode=755
5 3 0:43 /host/inaccessible/dir /run/user ro,nosuid,nodev,noexec master:6 - tmpfs tmpfs rw,mode=755
6 1 0:54 /tmp /tmp rw,nosuid,nodev - tmpfs tmpfs rw,mode=700
7 1 0:58 / /var ro,nosuid,nodev - tmpfs tmpfs rw,mode=755
8 7 0:54 /var-tmp /var/tmp rw,nosuid,nodev - tmpfs tmpfs rw,mode=700
9 7 254:0 /var/lib/shown /var/lib/shown ro,relatime master:1 - ext4 /dev/vda rw
10 1 0:43 /host/inaccessible/dir /opt/x ro,nosuid,nodev,noexec master:6 - tmpfs tmpfs rw,mode=755
11 1 254:0 /tmp/systemd-private-0-aegis.service-1/tmp /mnt rw,relatime master:1 - ext4 /dev/vda rw
12 1 0:59 / /opt/y rw,nosuid,nodev - tmpfs tmpfs rw,mode=755
`

// Under systemd 257 in a container that shares no mounts: its own tmpfs are at /run, /run/app and /tmp.
const recordedInContainer = `228 122 254:0 /rootfs / ro,relatime shared:1 - ext4 /dev/vda rw
229 228 0:39 / /tmp rw,nosuid,nodev shared:2 - tmpfs tmpfs rw,size=2468412k
243 228 0:43 / /run rw,nosuid,nodev shared:4 - tmpfs tmpfs rw,mode=755
250 243 0:50 / /run/app rw,nosuid,nodev,noexec,relatime shared:10 - tmpfs tmpfs rw,size=5120k
239 228 0:43 /host/inaccessible/dir /home ro,nosuid,nodev,noexec shared:67 - tmpfs tmpfs rw,mode=755
249 243 0:43 /host/inaccessible/dir /run/dbus ro,nosuid,nodev,noexec shared:12 - tmpfs tmpfs rw,mode=755
251 243 0:43 /systemd/propagate/aegis.service /run/systemd/incoming ro,nosuid,nodev - tmpfs tmpfs rw,mode=755
252 243 0:43 /host/inaccessible/dir /run/user ro,nosuid,nodev,noexec shared:14 - tmpfs tmpfs rw,mode=755
257 229 0:53 /tmp /tmp rw,nodev shared:3 - tmpfs tmpfs rw,size=2468412k,mode=700
258 228 0:57 / /var ro,nodev shared:82 - tmpfs tmpfs rw,size=2468412k,mode=755
259 258 0:53 /var-tmp /var/tmp rw,nodev shared:83 - tmpfs tmpfs rw,size=2468412k,mode=700
`

// Under systemd 252 in such a container. It ignores PrivateTmp=disconnected, so /tmp is the container's.
const recordedInOldContainer = `264 134 254:0 /rootfs / ro,relatime shared:1 - ext4 /dev/vda rw
265 264 0:39 / /tmp ro,nosuid,nodev shared:2 - tmpfs tmpfs rw,size=2468412k
279 264 0:43 / /run rw,nosuid,nodev shared:14 - tmpfs tmpfs rw,mode=755
285 279 0:48 / /run/lock rw,nosuid,nodev,noexec,relatime shared:44 - tmpfs tmpfs rw,size=5120k
291 264 0:58 / /var ro,nodev shared:72 - tmpfs tmpfs rw,size=2468412k,mode=755
`

func TestCheckHidden(t *testing.T) {
	defer func(before func() string) { mountTable = before }(mountTable)
	for _, tt := range []struct{ mounts, path, want string }{
		{recordedMounts, "/srv/within/run/a.sock", ""},
		{recordedMounts, "/run/a.sock", ""},
		{recordedMounts, "/homes/a.sock", ""},
		{recordedMounts, "/var/lib/shown/a.sock", ""},
		{recordedMounts, "/home/x/a.sock", "the host's /home, and with it /home/x/a.sock; set ProtectHome=read-only in Aegis' unit ("},
		{recordedMounts, "/run/user/1000/a.sock", "the host's /run/user, and with it /run/user/1000/a.sock; let the service listen outside /run/user"},
		{recordedMounts, "/run/dbus/a.sock", "the host's /run/dbus, and with it /run/dbus/a.sock; let the service listen outside /run/dbus"},
		{recordedMounts, "/tmp", "the host's /tmp, and with it /tmp; set PrivateTmp=no in"},
		{recordedMounts, "/var/lib/shown2/a.sock", "the host's /var, and with it /var/lib/shown2/a.sock; set TemporaryFileSystem= in"},
		{recordedMounts, "/var/tmp/a.sock", "the host's /var/tmp, and with it /var/tmp/a.sock; set PrivateTmp=no and TemporaryFileSystem= in"},
		{recordedMounts, "/var/run/docker/api.sock", "; write /run/docker/api.sock instead: /var/run is a symlink to /run"},
		{recordedMounts, "/opt/x/a.sock", "; show it to Aegis in"},
		{recordedMounts, "/opt/y/a.sock", "; show it to Aegis in"},
		{recordedMounts, "/mnt/a.sock", "; show it to Aegis in"},
		{recordedInContainer, "/srv/within/run/a.sock", ""},
		{recordedInContainer, "/run/a.sock", ""},
		{recordedInContainer, "/run/app/a.sock", ""},
		{recordedInContainer, "/home/x/a.sock", "set ProtectHome=read-only in"},
		{recordedInContainer, "/run/dbus/a.sock", "listen outside /run/dbus"},
		{recordedInContainer, "/run/user/1000/a.sock", "listen outside /run/user"},
		{recordedInContainer, "/tmp/a.sock", "set PrivateTmp=no in"},
		{recordedInContainer, "/var/lib/a.sock", "set TemporaryFileSystem= in"},
		{recordedInContainer, "/var/tmp/a.sock", "set PrivateTmp=no and TemporaryFileSystem= in"},
		{recordedInOldContainer, "/run/lock/a.sock", ""},
		{recordedInOldContainer, "/tmp/a.sock", ""},
		{recordedInOldContainer, "/var/tmp/a.sock", "the host's /var, and with it /var/tmp/a.sock; set TemporaryFileSystem= in"},
	} {
		mountTable = func() string { return tt.mounts }
		err := checkHidden(tt.path)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q, with the mounts\n%s", tt.path, err, tt.want, tt.mounts)
		}
	}
}

// A file of the configuration may be hidden too: it seems to be missing.
func TestReadRemedyOfAHiddenFile(t *testing.T) {
	defer func(before func() string) { mountTable = before }(mountTable)
	mountTable = func() string { return recordedMounts }
	if got := ReadRemedy("/var/lib/aegis/web.yml", fs.ErrNotExist); !strings.HasPrefix(got, "; permission denied: Aegis' unit hides the host's /var,") {
		t.Error(got)
	}
	if got := ReadRemedy("/etc/aegis/web.yml", fs.ErrNotExist); got != "" {
		t.Error(got)
	}
}

// Only a service has something hidden: a tmpfs of a container is nobody's sandbox.
func TestMountTable(t *testing.T) {
	if IsService() || mountTable() != "" {
		t.Errorf("a test is a service: %v, with the mounts %s", IsService(), mountTable())
	}
}
