// Command aegis lets a remote Prometheus scrape services that listen on Unix
// sockets: GET /NAME on one TCP address is GET /metrics on NAME.sock in a folder.
//
// Endpoints:
//
//	GET /NAME        the metrics of NAME.sock, its query string passed on
//	GET /            a page for people
//	GET /metrics     Aegis' own metrics
//	GET /-/sd        Prometheus HTTP service discovery
//	GET /-/healthy   200 while Aegis runs, as does /-/ready
//
// Signals: SIGTERM and SIGINT finish the scrapes under way and stop; a second
// one stops at once. SIGHUP reloads: it reads the targets file and looks at the folder
// anew.
//
// Under systemd it takes over the listeners of a socket unit, says READY, keeps
// a status line, and beats for the watchdog.
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

	"tulpa.dev/cadey/aegis/internal/limits"
)

// process is what the program has of the outside, so that tests can be it.
type process struct {
	stdout, stderr io.Writer
	stops          chan os.Signal   // SIGTERM and SIGINT
	hangups        <-chan os.Signal // SIGHUP
}

func main() {
	// A relay is system calls with little between them: one processor does tens
	// of thousands of scrapes in a second, and with more the scheduler spends as
	// much on looking for work as the scrapes take. It also bounds what a flood
	// of requests takes of the host.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	// What is garbage, while scrapers take all that the bounds give them, is not to
	// be what the kernel kills Aegis for.
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limits.MemoryLimit)
	}
	// Channels of their own: many SIGHUP must not push out a SIGTERM.
	stops, hangups := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(hangups, syscall.SIGHUP)
	stderr := newNeverWaits(os.Stderr)
	code := run(os.Args[1:], process{os.Stdout, stderr, stops, hangups})
	stderr.flush(limits.LogFlushTimeout)
	os.Exit(code)
}

// errUsage is wrapped by errors that are the caller's way of calling.
var errUsage = errors.New("aegis -help says how it is used")

// run is the program; it returns the exit code.
func run(args []string, p process) int {
	return exitCode(command(args, p), p)
}

// exitCode prints what there is to print of err and returns its exit code.
func exitCode(err error, p process) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.stdout, manual)
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
		return check(args[1:], p)
	case "demo":
		return demo(args[1:], p)
	case "version":
		return serve([]string{"-version"}, p)
	case "help":
		return flag.ErrHelp
	default:
		return fmt.Errorf("unknown command %q, known are serve, check and demo: %w", args[0], errUsage)
	}
}

// parse reads args into fs, which takes no arguments beside flags.
func parse(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		return usageError(fs, err)
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q (each flag takes one value; a list is written with commas): %w", fs.Arg(0), errUsage)
	}
	return nil
}

// usageError is err, of parsing the flags of fs, as the caller's way of calling.
func usageError(fs *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	says := err.Error()
	if name, unknown := strings.CutPrefix(says, "flag provided but not defined: -"); unknown {
		fs.VisitAll(func(f *flag.Flag) {
			if letters(f.Name) == letters(name) {
				says += "; it is -" + f.Name
			}
		})
	}
	return fmt.Errorf("%s: %w", says, errUsage)
}

// letters is name, of a flag, without what stands between its words.
func letters(name string) string { return strings.NewReplacer("-", "", ".", "", "_", "").Replace(name) }
