package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/check"
	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// runCheck scrapes targets once, as the daemon would, and says what is wrong.
func runCheck(args []string, p process) error {
	// A signal ends it at once, as with any other command: it has nothing to finish.
	signal.Reset(syscall.SIGTERM, syscall.SIGINT)
	options := check.Options{
		Timeout: limits.DefaultScrapeTimeout, Version: version,
		Stdout: p.stdout, Stderr: p.stderr, RunAs: check.CommandAs("aegis", args),
	}
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err == nil {
		options.Terminal = os.Stderr
	}
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	var dirs directories
	dirs.addFlags(fs)
	targetsFile := fs.String("config.file", "", "")
	webFile := fs.String("web.config.file", "", "")
	syntaxOnly := fs.Bool("syntax-only", false, "")
	fs.BoolVar(&options.Lint, "lint", false, "")
	fs.Func("output", "", func(format string) error {
		if options.JSON = format == "json"; !options.JSON && format != "table" {
			return fmt.Errorf("use table or json")
		}
		return nil
	})
	fs.Func("timeout", "", func(value string) (err error) {
		options.Timeout, err = time.ParseDuration(value)
		if err != nil || options.Timeout <= 0 || options.Timeout > limits.MaxScrapeTimeout {
			return fmt.Errorf("use a duration such as 5s or 1m30s, up to %v", limits.MaxScrapeTimeout)
		}
		return nil
	})
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		return usageError(fs, err)
	}
	if err := checkNames(fs.Args()); err != nil {
		return err
	}
	if err := checkFileFlags(fs); err != nil {
		return err
	}
	options.Names = fs.Args()
	if *syntaxOnly && (len(options.Names) > 0 || *targetsFile+*webFile == "") {
		return fmt.Errorf("-syntax-only checks a file, in -config.file or -web.config.file, and no target: %w", errUsage)
	}
	if *syntaxOnly {
		_, err := checkFiles(*targetsFile, *webFile, auth.CheckSyntax, options)
		return err
	}
	if err := dirs.resolve(fs); err != nil {
		return err
	}
	targets, filesErr := checkFiles(*targetsFile, *webFile, auth.ReadFile, options)
	if filesErr != nil && filesErr != check.ErrFindings {
		return filesErr
	}
	set := dirs.newSet(targets, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	return cmp.Or(check.Run(set, options), filesErr)
}

// checkFiles checks the files and prints what it finds. It reads the web file with readWeb. It returns
// check.ErrFindings if the daemon would start with them, but not work.
func checkFiles(targetsFile, webFile string, readWeb func(string) (*auth.File, error), options check.Options) (targetsfile.File, error) {
	targets, err := readTargetsFile(targetsFile)
	if err != nil {
		return targets, err
	}
	web, err := readWeb(webFile)
	if err != nil {
		return targets, err
	}
	if web != nil {
		for _, w := range fileWarnings(targets, web) {
			fmt.Fprintf(options.Stderr, "aegis: %s: %s\n", w.subject, w.message)
		}
	}
	notes := options.Stdout
	if options.JSON {
		notes = options.Stderr
	}
	if targetsFile != "" {
		fmt.Fprintf(notes, "%s: valid, targets: %d\n", targetsFile, len(targets.Targets))
	}
	if webFile != "" {
		fmt.Fprintf(notes, "%s: valid\n", webFile)
	}
	if web != nil && !web.CertificateExpiredAt().IsZero() {
		return targets, check.ErrFindings
	}
	return targets, nil
}

// checkNames returns an error for arguments that are not names of targets.
func checkNames(names []string) error {
	for _, name := range names {
		if strings.HasPrefix(name, "-") {
			return fmt.Errorf("%s comes after a name; flags go before names: %w", name, errUsage)
		}
		if info, err := os.Stat(name); err == nil && info.IsDir() && strings.Contains(name, "/") {
			return fmt.Errorf("%s is a directory; name the directory of sockets with -sockdir: %w", name, errUsage)
		}
		if _, err := netip.ParseAddrPort(name); err == nil || strings.Contains(name, "://") {
			return fmt.Errorf("%s is an address; check scrapes the services themselves, by the names of their sockets; use curl to query a running Aegis: %w", name, errUsage)
		}
	}
	return nil
}
