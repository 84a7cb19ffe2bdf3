package web

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// reloads is how the last reload of each configuration file went: for the metrics, the page and the status line.
type reloads struct {
	successful *prometheus.GaugeVec
	errorInfo  *prometheus.GaugeVec

	mu     sync.Mutex
	errors map[string]error // by file; only those whose last reload failed
}

func newReloads(registry prometheus.Registerer) *reloads {
	register := promauto.With(registry)
	return &reloads{
		successful: register.NewGaugeVec(prometheus.GaugeOpts{
			Name: "aegis_config_last_reload_successful",
			Help: "1 if the last reload of the configuration file succeeded, 0 while the previous one stays in use.",
		}, []string{"file"}),
		errorInfo: register.NewGaugeVec(prometheus.GaugeOpts{
			Name: "aegis_config_reload_error_info",
			Help: "1, with what is wrong with the configuration file and in which line; absent while nothing is.",
		}, []string{"file", "reason", "line"}),
		errors: make(map[string]error),
	}
}

// SetReloadError records how the last reload of a configuration file went, "targets" or "web". It is called at
// start too, with nil, for each file in use.
func (s *Server) SetReloadError(file string, err error) {
	defer s.targets.Notify()
	r := s.reloads
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errorInfo.DeletePartialMatch(prometheus.Labels{"file": file})
	if err == nil {
		delete(r.errors, file)
		r.successful.WithLabelValues(file).Set(1)
		return
	}
	r.errors[file] = err
	r.successful.WithLabelValues(file).Set(0)
	reason, line := fault(err)
	r.errorInfo.WithLabelValues(file, reason, line).Set(1)
}

// describe returns the line that format returns for each file whose last reload failed.
func (r *reloads) describe(format func(file string, err error) string) (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, file := range slices.Sorted(maps.Keys(r.errors)) {
		lines = append(lines, format(file, r.errors[file]))
	}
	return lines
}

// reloadStatus describes a failed reload for the status line.
func reloadStatus(file string, err error) string {
	return fmt.Sprintf("reloading the %s file failed, so Aegis still uses the previous one: %v", file, err)
}

// reloadAlert describes a failed reload for any client to see: with the line of the fault, but without what is
// written there.
func reloadAlert(file string, err error) string {
	where := ""
	if _, line := fault(err); line != "" {
		where = " in line " + line
	}
	return fmt.Sprintf("The %s file is broken%s, so Aegis still uses the previous one; "+
		"systemctl status and the log say why.", file, where)
}

// fault returns the kind of fault that err is, and the line if it has one. It does not return what is written
// there, which not every client may know.
func fault(err error) (reason, line string) {
	var fault *targetsfile.Fault
	if !errors.As(err, &fault) {
		return "invalid", ""
	}
	if fault.Line > 0 {
		line = strconv.Itoa(fault.Line)
	}
	return string(fault.Reason), line
}
