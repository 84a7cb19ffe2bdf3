package socketdir

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// IsService reports whether a service manager started this process itself (systemd.exec(5)).
func IsService() bool { return os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()) }

// inUnit says where the settings of Aegis' own unit are made.
const inUnit = "in Aegis' unit (systemctl edit aegis; on NixOS, systemd.services.aegis.serviceConfig) and restart it"

// reveal says for directories that service units hide which setting shows them. Only its owner may enter
// a directory in /run/user, shown or not.
var reveal = map[string]string{
	"/home":     "set ProtectHome=read-only " + inUnit,
	"/root":     "set ProtectHome=read-only " + inUnit,
	"/run/user": "let the service listen outside /run/user",
	"/tmp":      "set PrivateTmp=no " + inUnit,
	"/var":      "set TemporaryFileSystem= " + inUnit,
	"/var/tmp":  "set PrivateTmp=no and TemporaryFileSystem= " + inUnit,
}

// checkHidden returns an ErrDenied if Aegis' unit puts something else in the place of path, or of a
// directory above: what Aegis sees there, or does not see, says nothing about the host.
func checkHidden(path string) error {
	var over mount
	for _, m := range serviceMounts() {
		if len(m.point) >= len(over.point) && strings.HasPrefix(path+"/", m.point+"/") {
			over = m
		}
	}
	if !over.hides {
		return nil
	}
	advice := reveal[over.point]
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		advice = "write /run/" + rest + " instead: /var/run is a symlink to /run"
	} else if advice == "" {
		advice = "show it to Aegis " + inUnit
	}
	return fmt.Errorf("%w: Aegis' unit hides the host's %s, and with it %s; %s", ErrDenied, over.point, path, advice)
}

// mount is a line of the mount table.
type mount struct {
	point string
	hides bool // the service manager mounted it for this process, to hide what the host has there
}

// serviceMounts returns the mount table of a service; it is empty for other processes. It is as it was
// when first needed: what hides something is there from the start.
var serviceMounts = sync.OnceValue(func() []mount {
	if !IsService() {
		return nil
	}
	table, _ := os.ReadFile("/proc/self/mountinfo") // Without it, nothing counts as hidden.
	return parseMounts(string(table))
})

// parseMounts parses a mount table as in proc_pid_mountinfo(5). A mount hides what the host has if it is
// systemd's inaccessible directory, a private /tmp, or a tmpfs that does not come from the host.
func parseMounts(table string) (mounts []mount) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			continue
		}
		root, point := fields[3], fields[4]
		mounts = append(mounts, mount{point, strings.HasSuffix(root, "/inaccessible/dir") ||
			strings.Contains(root, "/systemd-private-") ||
			strings.Contains(line, " - tmpfs ") && !strings.Contains(line, " master:")})
	}
	return mounts
}
