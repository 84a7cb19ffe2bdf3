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
5 3 0:43 /host/inaccessible/dir /run/user ro,nosuid,nodev,noexec master:6 - tmpfs tmpfs rw,mode=755
6 1 0:54 /tmp /tmp rw,nosuid,nodev - tmpfs tmpfs rw,mode=700
7 1 0:58 / /var ro,nosuid,nodev - tmpfs tmpfs rw,mode=755
8 7 0:54 /var-tmp /var/tmp rw,nosuid,nodev - tmpfs tmpfs rw,mode=700
9 7 254:0 /var/lib/shown /var/lib/shown ro,relatime master:1 - ext4 /dev/vda rw
10 1 0:43 /host/inaccessible/dir /opt/x ro,nosuid,nodev,noexec master:6 - tmpfs tmpfs rw,mode=755
11 1 254:0 /tmp/systemd-private-0-aegis.service-1/tmp /mnt rw,relatime master:1 - ext4 /dev/vda rw
`

func TestCheckHidden(t *testing.T) {
	defer func(before func() string) { mountTable = before }(mountTable)
	mountTable = func() string { return recordedMounts }
	for path, want := range map[string]string{
		"/srv/within/run/a.sock":   "",
		"/run/a.sock":              "",
		"/homes/a.sock":            "",
		"/var/lib/shown/a.sock":    "",
		"/home/x/a.sock":           "the host's /home, and with it /home/x/a.sock; set ProtectHome=read-only in Aegis' unit (",
		"/run/user/1000/a.sock":    "the host's /run/user, and with it /run/user/1000/a.sock; let the service listen outside /run/user",
		"/tmp":                     "the host's /tmp, and with it /tmp; set PrivateTmp=no in",
		"/var/lib/shown2/a.sock":   "the host's /var, and with it /var/lib/shown2/a.sock; set TemporaryFileSystem= in",
		"/var/tmp/a.sock":          "the host's /var/tmp, and with it /var/tmp/a.sock; set PrivateTmp=no and TemporaryFileSystem= in",
		"/var/run/docker/api.sock": "; write /run/docker/api.sock instead: /var/run is a symlink to /run",
		"/opt/x/a.sock":            "; show it to Aegis in",
		"/mnt/a.sock":              "; show it to Aegis in",
	} {
		err := checkHidden(path)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", path, err, want)
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
