package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	exporterweb "github.com/prometheus/exporter-toolkit/web"

	"tulpa.dev/cadey/aegis/internal/config"
	"tulpa.dev/cadey/aegis/internal/sockdir"
	"tulpa.dev/cadey/aegis/internal/systemd"
	"tulpa.dev/cadey/aegis/internal/web"
)

// settings are what serve is told by its flags.
type settings struct {
	hostport      string
	hostportGiven bool
	sockdir       string
	targetsFile   string // empty if there is none
	targets       config.File
	webConfig     string // file for TLS and authentication, empty if there is none
	allow         []netip.Prefix
	level         slog.Level
}

func serve(args []string, p process) error {
	var (
		s           = settings{level: slog.LevelInfo}
		showVersion bool
	)
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&s.hostport, "hostport", "[::]:31337", "")
	fs.StringVar(&s.sockdir, "sockdir", "./run", "")
	fs.StringVar(&s.targetsFile, "config.file", "", "")
	fs.StringVar(&s.webConfig, "web.config.file", "", "")
	fs.Func("allow", "", func(list string) error {
		prefixes, err := web.ParsePrefixes(list)
		s.allow = append(s.allow, prefixes...)
		return err
	})
	fs.Func("log.level", "", func(name string) (err error) {
		s.level, err = parseLevel(name)
		return err
	})
	fs.BoolVar(&showVersion, "version", false, "")
	if err := parse(fs, args); err != nil {
		return err
	}
	fs.Visit(func(f *flag.Flag) { s.hostportGiven = s.hostportGiven || f.Name == "hostport" })
	if showVersion {
		_, err := fmt.Fprintln(p.stdout, versionLine())
		return err
	}
	dir, err := sockdirPath(s.sockdir)
	if err != nil {
		return err
	}
	s.sockdir = dir
	if s.targets, err = readTargets(s.targetsFile); err != nil {
		return err
	}
	if err := checkWebConfig(s.webConfig); err != nil {
		return err
	}
	log := newLogger(p.stderr, s.level, systemd.StderrIsJournal())
	ls, err := listeners(s, log)
	if err != nil {
		return err
	}
	return newDaemon(ls, s, p, log).run()
}

// readTargets reads the targets file, if there is one.
func readTargets(path string) (config.File, error) {
	if path == "" {
		return config.File{}, nil
	}
	return config.Read(path)
}

// checkWebConfig returns what is wrong with the file for TLS and authentication,
// if there is one.
func checkWebConfig(path string) error {
	// Opening a pipe waits for who writes to it.
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return fmt.Errorf("reading -web.config.file %s: it is a pipe, and is read again and again; give a file", path)
	}
	err := exporterweb.Validate(path)
	if err == nil {
		return nil
	}
	// The library's errors may have lines.
	says := strings.Join(strings.Fields(err.Error()), " ")
	switch {
	case strings.Contains(says, "bcrypt"):
		says += "; basic_auth_users has passwords as htpasswd -nBC 10 NAME prints them"
	case errors.Is(err, os.ErrPermission):
		says += "; it is read as " + sockdir.Whoami()
	}
	return fmt.Errorf("reading -web.config.file %s: %s", path, says)
}
