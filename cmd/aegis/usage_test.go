package main

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// ownUsage is what a running Aegis uses, according to its own metrics.
type ownUsage struct{ descriptors, goroutines, scrapers, residentMiB float64 }

// String returns u in words.
func (u ownUsage) String() string {
	return fmt.Sprintf("%.0f descriptors, %.0f goroutines, %.0f connections of scrapers, %.1f MiB resident",
		u.descriptors, u.goroutines, u.scrapers, u.residentMiB)
}

func usageOf(t *testing.T, addr string) ownUsage {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	values := make(map[string]float64)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			values[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return ownUsage{values["process_open_fds"], values["go_goroutines"], values["aegis_scraper_connections"], values["process_resident_memory_bytes"] / (1 << 20)}
}

// awaitUsage waits until descriptors and goroutines are where they were before, except for
// extra descriptors. Goroutines that look up sockets stay, limits.MaxBlockingFSCalls of them
// at most.
func awaitUsage(t *testing.T, addr string, before ownUsage, extra float64) {
	t.Helper()
	eventually(t, func() error {
		now := usageOf(t, addr)
		if now.descriptors > before.descriptors+extra || now.goroutines > before.goroutines+limits.MaxBlockingFSCalls+20 {
			return fmt.Errorf("%v; before: %v", now, before)
		}
		return nil
	})
}
