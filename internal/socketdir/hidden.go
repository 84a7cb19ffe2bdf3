package socketdir

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// IsService reports whether a service manager started this process itself (systemd.exec(5)).
func IsService() bool { return os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()) }

// inUnit says where the settings of Aegis' own unit are made.
const inUnit = "in Aegis' unit (systemctl edit aegis; on NixOS, systemd.services.aegis.serviceConfig) and restart it"

// reveal says for directories that service units hide which setting shows them. Only its owner may enter
// a directory in /run/user, shown or not, and Aegis should not see the bus in /run/dbus.
var reveal = map[string]string{
	"/home":     "set ProtectHome=read-only " + inUnit,
	"/root":     "set ProtectHome=read-only " + inUnit,
	"/run/dbus": "let the service listen outside /run/dbus",
	"/run/user": "let the service listen outside /run/user",
	"/tmp":      "set PrivateTmp=no " + inUnit,
	"/var":      "set TemporaryFileSystem= " + inUnit,
	"/var/tmp":  "set PrivateTmp=no and TemporaryFileSystem= " + inUnit,
}

// mountTable returns the mount table of a service; it is empty for other processes. It is as it was when
// first needed: what hides something is there from the start.
var mountTable = sync.OnceValue(func() string {
	if !IsService() {
		return ""
	}
	table, _ := os.ReadFile("/proc/self/mountinfo") // Without it, nothing counts as hidden.
	return string(table)
})

// checkHidden returns an ErrDenied if the service manager has mounted something over path, or a directory
// above, to hide it: its inaccessible directory, a private /tmp, or a tmpfs that is not the host's. What
// Aegis sees there then says nothing about the host.
func checkHidden(path string) error {
	over, hidden, shared := "", false, false
	for line := range strings.Lines(mountTable()) {
		fields := strings.Fields(line) // proc_pid_mountinfo(5)
		root, point, fromHost := fields[3], fields[4], strings.Contains(line, " master:")
		if point == "/" {
			shared = fromHost
		} else if len(point) >= len(over) && strings.HasPrefix(path+"/", point+"/") {
			// A container may share no mounts. Only a unit has a tmpfs at a directory in reveal then,
			// but for /tmp, where the unit's is not mounted at its root.
			isUnits := shared || reveal[point] != "" && (root != "/" || filepath.Base(point) != "tmp")
			over, hidden = point, strings.HasSuffix(root, "/inaccessible/dir") ||
				strings.Contains(root, "/systemd-private-") ||
				strings.Contains(line, " - tmpfs ") && !fromHost && isUnits
		}
	}
	if !hidden {
		return nil
	}
	advice := cmp.Or(reveal[over], "show it to Aegis "+inUnit)
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		advice = "write /run/" + rest + " instead: /var/run is a symlink to /run"
	}
	return fmt.Errorf("%w: Aegis' unit hides the host's %s, and with it %s; %s", ErrDenied, over, path, advice)
}
