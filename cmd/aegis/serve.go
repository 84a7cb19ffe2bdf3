package main

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	exporterweb "github.com/prometheus/exporter-toolkit/web"

	"tulpa.dev/cadey/aegis/internal/systemd"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
	"tulpa.dev/cadey/aegis/internal/web"
)

// settings are what serve is told by its flags.
type settings struct {
	hostport      string
	hostportGiven bool
	sockdir       string
	targetsFile   string // empty if there is none
	targets       targetsfile.File
	webConfigFile string             // file for TLS and authentication, empty if there is none
	webConfig     exporterweb.Config // what that says
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
	fs.StringVar(&s.webConfigFile, "web.config.file", "", "")
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
	if err := filesNamed(fs); err != nil {
		return err
	}
	s.hostportGiven = given(fs, "hostport")
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
	if s.webConfig, err = readWebConfig(s.webConfigFile); err != nil {
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
func readTargets(path string) (targetsfile.File, error) {
	if path == "" {
		return targetsfile.File{}, nil
	}
	return targetsfile.Read(path)
}

// filesNamed returns an error if a flag that names a file was given and names none.
func filesNamed(fs *flag.FlagSet) (err error) {
	fs.Visit(func(f *flag.Flag) {
		if strings.HasSuffix(f.Name, "config.file") && f.Value.String() == "" {
			err = fmt.Errorf("-%s is empty, it names a file: %w", f.Name, errUsage)
		}
	})
	return err
}

// given reports whether fs was given the flag called name.
func given(fs *flag.FlagSet, name string) (is bool) {
	fs.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}
