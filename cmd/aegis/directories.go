package main

import (
	"flag"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/target"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// directories are those of -sockdir and -varlinkdir.
type directories struct {
	sockdir, varlinkdir string
	varlinkAlone        bool // -sockdir was not given
}

func (d *directories) addFlags(fs *flag.FlagSet) {
	fs.StringVar(&d.sockdir, "sockdir", "./run", "")
	fs.StringVar(&d.varlinkdir, "varlinkdir", "", "")
}

// resolve makes the paths absolute, after fs was parsed.
func (d *directories) resolve(fs *flag.FlagSet) (err error) {
	if d.sockdir == "" {
		return fmt.Errorf("-sockdir is empty; it needs the path of a directory: %w", errUsage)
	}
	d.varlinkAlone = !isGiven(fs, "sockdir")
	for _, path := range []*string{&d.sockdir, &d.varlinkdir} {
		if *path != "" && err == nil {
			*path, err = filepath.Abs(*path)
		}
	}
	return err
}

// newSet returns the targets of d and file.
func (d directories) newSet(file targetsfile.File, log *slog.Logger, registry prometheus.Registerer) *target.Set {
	set := target.NewSet(socketdir.New(d.sockdir), file, log, registry)
	if d.varlinkdir != "" {
		set.AddVarlink(socketdir.NewWithSuffix(d.varlinkdir, ""), d.varlinkAlone)
	}
	return set
}
