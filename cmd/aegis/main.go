// Command aegis lets a remote Prometheus scrape services that listen on Unix sockets:
// GET /NAME on one TCP address becomes GET /metrics on NAME.sock in a directory.
//
// Endpoints:
//
//	GET /NAME        the metrics of NAME.sock; the query string is passed on
//	GET /            a page for people
//	GET /metrics     Aegis' own metrics
//	GET /-/sd        Prometheus HTTP service discovery
//	GET /-/healthy   200 while Aegis runs, as does /-/ready
//
// Signals: SIGTERM and SIGINT finish the scrapes in flight and stop; a second one stops at
// once. SIGHUP reads the targets file, the web file and the directory again.
//
// Under systemd it uses the listeners of a socket unit, reports READY and a status line, and
// sends watchdog keep-alives.
//
// Exit codes: 0 after a clean stop, 1 on failure, 2 on wrong usage.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/suggest"
)

// process is the program's streams and signals, which tests replace.
type process struct {
	stdout, stderr io.Writer
	stops          chan os.Signal   // SIGTERM and SIGINT
	hangups        <-chan os.Signal // SIGHUP
}

func main() {
	setTimerSlack()
	// A relay is system calls with little in between: one processor does tens of thousands of
	// scrapes a second. With more, the scheduler spends as much time on looking for work as the
	// scrapes take. This also bounds what a flood of requests takes from the host.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	// If clients use all that the limits allow, collect garbage before the kernel kills Aegis.
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limits.MemoryLimit)
	}
	// Separate channels: many SIGHUPs must not push out a SIGTERM.
	stops, hangups := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(hangups, syscall.SIGHUP)
	stderr := newAsyncWriter(os.Stderr)
	code := run(os.Args[1:], process{os.Stdout, stderr, stops, hangups})
	stderr.flush(limits.LogFlushTimeout)
	os.Exit(code)
}

// timerSlack is how many nanoseconds late the kernel may run a timer. While the program works now and then, Go's
// monitor thread polls every 20 µs, which costs a seventh of what scrapes do. With slack it polls every 5 ms: soon
// enough to interrupt a goroutine that has run for 10 ms.
const timerSlack = 5_000_000

// setTimerSlack sets the timer slack of all threads (prctl(2)), unless the service unit has (TimerSlackNSec=). Threads
// inherit it at their creation, and the monitor thread exists already, so this starts the program once more.
func setTimerSlack() {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err == nil && slack < timerSlack && unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0) == nil {
		syscall.Exec("/proc/self/exe", os.Args, os.Environ()) // If that fails, the program only costs more.
	}
}

// errUsage is wrapped by the errors of wrong usage.
var errUsage = errors.New("see aegis -help")

// run runs the program and returns the exit code.
func run(args []string, p process) int { return exitCode(command(args, p), p) }

// exitCode prints err and returns the exit code for it.
func exitCode(err error, p process) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.stdout, usage)
		return 0
	}
	fmt.Fprintf(p.stderr, "%saegis: %v\n", journalPrefix("<3>"), err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

// command runs what the first argument names.
func command(args []string, p process) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return serve(args, p)
	}
	switch args[0] {
	case "serve":
		return serve(args[1:], p)
	case "check":
		return runCheck(args[1:], p)
	case "demo":
		return demo(args[1:], p)
	case "version":
		return serve([]string{"-version"}, p)
	case "help":
		return flag.ErrHelp
	default:
		return fmt.Errorf("unknown command %q; use serve, check or demo: %w", args[0], errUsage)
	}
}

// parse parses args, which may only be flags.
func parse(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		return usageError(fs, err)
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q (each flag takes one value; separate list items by commas): %w", fs.Arg(0), errUsage)
	}
	return nil
}

// usageError returns err, an error of parsing the flags of fs, as wrong usage.
func usageError(fs *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	if name, unknown := strings.CutPrefix(text, "flag provided but not defined: -"); unknown {
		var known []string
		fs.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		if nearest := suggest.Nearest(name, known); nearest != "" {
			text += "; did you mean -" + nearest + "?"
		}
	}
	return fmt.Errorf("%s: %w", text, errUsage)
}
