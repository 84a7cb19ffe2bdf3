package scrape

import (
	"strconv"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// TimeoutHeader is where Prometheus says how many seconds it will wait.
const TimeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"

// ParseTimeout reads the value of TimeoutHeader, a decimal number of seconds.
// It reports false for nonsense: what is not a number, not positive, or more
// than limits.MaxScrapeTimeout.
func ParseTimeout(value string) (time.Duration, bool) {
	if value == "" || strings.Trim(value, "0123456789.eE+-") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(value, 64)
	// Written so that NaN, which compares false, is nonsense too.
	if err != nil || !(seconds > 0 && seconds <= limits.MaxScrapeTimeout.Seconds()) {
		return 0, false
	}
	timeout := time.Duration(seconds * float64(time.Second))
	return timeout, timeout > 0
}

// deadlineWithin is how long a scrape may take whose scraper waits for timeout. Who
// waits less than anybody's service needs gives up by itself: it is not the service
// that fails then.
func deadlineWithin(timeout time.Duration) time.Duration {
	timeout = max(timeout, limits.MinScrapeTimeout)
	return timeout - min(timeout/10, limits.MaxScrapeTimeoutOffset)
}
