// Package check scrapes targets once, as the daemon would, parses their metrics as Prometheus does, and
// reports what is wrong.
package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
)

// ErrFindings means that a check found something wrong, and has printed what.
var ErrFindings = errors.New("not all targets are fine")

// Options says what to check and how to report it.
type Options struct {
	Names   []string      // of targets; all targets if empty
	Lint    bool          // run promlint on the metrics
	Timeout time.Duration // the scrape_timeout of Prometheus; limits parsing a response, too
	JSON    bool          // report as JSON instead of a table
	// RunAs is a command that runs the same check as the service would; empty if this process does already
	// (see CommandAs).
	RunAs   string
	Version string // of Aegis, for the User-Agent
	// Stdout gets the report. Stderr gets warnings, and with JSON all that is not JSON.
	Stdout, Stderr io.Writer
	// Terminal shows the progress of a long check; nil if there is no terminal.
	Terminal io.Writer
}

// Run checks targets of set and reports on each. It returns ErrFindings if one of them is not fine, or if
// Prometheus cannot tell two of them apart.
func Run(set *target.Set, o Options) error {
	if o.RunAs != "" {
		fmt.Fprintf(o.Stderr, "aegis: checking as %s; the service has its own user, groups and view of the files, and"+
			" may get other results; to check as the service: %s\n", socketdir.CurrentUser(), o.RunAs)
	}
	duplicates := false
	if len(o.Names) == 0 {
		var err error
		if o.Names, err = list(set, o); err != nil {
			return fmt.Errorf("listing the sockets: %w", adviseRunAs(err, o.RunAs))
		}
		duplicates = warnDuplicateLabels(set, o)
	}
	c := checker{Options: o, set: set}
	arriving := make(chan report)
	go c.checkAll(arriving)
	reports, err := collect(o, arriving)
	if err == nil {
		err = printReports(o, reports)
	}
	if err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	if duplicates || slices.ContainsFunc(reports, func(r report) bool { return r.Error != "" }) {
		return ErrFindings
	}
	return nil
}

// list returns the names of all targets, and prints what is not served in the directories.
func list(set *target.Set, o Options) (names []string, err error) {
	w := o.Stdout
	if o.JSON {
		w = o.Stderr
	}
	entries, err := set.List(context.Background())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Err == nil {
			names = append(names, e.Name)
		} else {
			fmt.Fprintf(w, "%s is not served: %s\n", printable(e.File), target.Detail(e.Err))
		}
	}
	if len(names) == 0 {
		fmt.Fprintf(w, "There is no target in %s yet.\n", set.Directories())
	}
	return names, nil
}

// warnDuplicateLabels reports whether two targets have the same labels, and prints a warning if they do.
func warnDuplicateLabels(set *target.Set, o Options) bool {
	isTarget := func(name string) bool { return slices.Contains(o.Names, name) }
	name, other := set.File().DuplicateLabels(isTarget)
	if other != "" {
		fmt.Fprintf(o.Stderr, "aegis: %s and %s have the same labels, so Prometheus takes them for one target;"+
			" give one of them other labels in the targets file\n", name, other)
	}
	return other != ""
}

// sandbox are the settings of a service that decide which sockets it finds and may connect to.
const sandbox = "User,Group,SupplementaryGroups,ProtectHome,PrivateTmp,TemporaryFileSystem," +
	"InaccessiblePaths,BindPaths,BindReadOnlyPaths"

// CommandAs returns the command that runs "aegis check" with args as the service called name runs: as its
// user, in its groups and in its sandbox. It is empty if this process is a service, or if there is no such
// service.
func CommandAs(name string, args []string) string {
	ctx, cancel := context.WithTimeout(context.Background(), limits.SystemctlTimeout)
	defer cancel()
	settings, _ := exec.CommandContext(ctx, "systemctl", "show", name+".service", "-p", sandbox).Output()
	if socketdir.IsService() || !bytes.Contains(settings, []byte("User="+name+"\n")) {
		return ""
	}
	command := "systemd-run -qPG --wait"
	for setting := range strings.Lines(string(settings)) {
		if setting = strings.TrimSpace(setting); !strings.HasSuffix(setting, "=") {
			command += " -p " + socketdir.ShellQuote(setting)
		}
	}
	directory, _ := os.Getwd() // for relative paths in args; "-" means that it may be hidden
	program, _ := os.Executable()
	for _, arg := range append([]string{"-p", "WorkingDirectory=-" + directory, program, "check"}, args...) {
		command += " " + socketdir.ShellQuote(arg)
	}
	return command
}

// adviseRunAs returns err, without its advice if that is about this user's permissions and not the service's.
func adviseRunAs(err error, runAs string) error {
	if runAs != "" && errors.Is(err, socketdir.ErrDenied) {
		err = fmt.Errorf("%w to this user; before you change anything, check as the service: %s", socketdir.ErrDenied, runAs)
	}
	return err
}
