//go:build !linux

package limits

var _ = Aegis_runs_only_on_Linux
