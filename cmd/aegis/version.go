package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set at build time by -ldflags "-X main.version=… -X main.revision=…".
var (
	version  = "0.1.0"
	revision = ""
)

// buildRevision is the commit this was built from, as far as is known.
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
	return fmt.Sprintf("aegis %s (revision %s, %s, %s/%s)", version, buildRevision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
