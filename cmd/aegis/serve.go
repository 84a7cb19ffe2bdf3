package main

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"

	"tulpa.dev/cadey/aegis/internal/auth"
	"tulpa.dev/cadey/aegis/internal/server"
	"tulpa.dev/cadey/aegis/internal/systemd"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// settings are what the flags of serve say.
type settings struct {
	hostport      string
	hostportGiven bool
	directories
	targetsFile string // path, empty for none
	targets     targetsfile.File
	webFile     *auth.File // nil for none
	allow       []netip.Prefix
	externalURL *url.URL // nil for none
	level       slog.Level
}

func serve(args []string, p process) error {
	var (
		s           = settings{level: slog.LevelInfo}
		webFile     string
		showVersion bool
	)
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&s.hostport, "hostport", "[::]:31337", "")
	s.addFlags(fs)
	fs.StringVar(&s.targetsFile, "config.file", "", "")
	fs.StringVar(&webFile, "web.config.file", "", "")
	fs.Func("allow", "", func(list string) error {
		prefixes, err := server.ParsePrefixes(list)
		s.allow = append(s.allow, prefixes...)
		return err
	})
	fs.Func("web.external-url", "", func(text string) (err error) {
		s.externalURL, err = parseExternalURL(text)
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
	if err := checkFileFlags(fs); err != nil {
		return err
	}
	if showVersion {
		_, err := fmt.Fprintln(p.stdout, versionLine())
		return err
	}
	s.hostportGiven = isGiven(fs, "hostport")
	var err error
	if err = s.resolve(fs); err != nil {
		return err
	}
	if s.targets, err = readTargetsFile(s.targetsFile); err != nil {
		return err
	}
	if s.webFile, err = auth.ReadFile(webFile); err != nil {
		return err
	}
	log := newLogger(p.stderr, s.level, systemd.StderrIsJournal())
	listeners, err := openListeners(s, log)
	if err != nil {
		return err
	}
	return newDaemon(listeners, s, p, log).run()
}

// readTargetsFile reads the targets file, if there is one.
func readTargetsFile(path string) (targetsfile.File, error) {
	if path == "" {
		return targetsfile.File{}, nil
	}
	return targetsfile.Read(path)
}

// checkFileFlags returns an error if a flag that names a file was given an empty value.
func checkFileFlags(fs *flag.FlagSet) (err error) {
	fs.Visit(func(f *flag.Flag) {
		if strings.HasSuffix(f.Name, "config.file") && f.Value.String() == "" {
			err = fmt.Errorf("-%s is empty; it needs the path of a file: %w", f.Name, errUsage)
		}
	})
	return err
}

// isGiven reports whether the flag called name was given.
func isGiven(fs *flag.FlagSet, name string) (given bool) {
	fs.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}
