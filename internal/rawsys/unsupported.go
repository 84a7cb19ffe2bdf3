//go:build !linux

package rawsys

var _ = Aegis_runs_only_on_Linux
