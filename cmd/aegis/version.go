package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set at build time by -ldflags "-X main.version=… -X main.revision=…".
var (
	version  = "0.2.0"
	revision = ""
)

// buildRevision returns the commit that this was built from, if known.
func buildRevision() string {
	if revision != "" {
		return revision
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

func versionLine() string {
	return fmt.Sprintf("aegis %s (revision %s, %s, %s/%s)",
		version, buildRevision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
