package scrape

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// TimeoutHeader is the header field in which Prometheus says how many seconds it waits.
const TimeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"

// forwardedHeaders are the scraper's header fields that the service gets. All others stay
// here, above all credentials and cookies.
var forwardedHeaders = [...]string{"Accept", "Accept-Encoding", "User-Agent"}

// Protocols that a service may speak.
const (
	HTTP    = "http"
	Raw     = "raw"     // It writes its metrics to each connection and closes it.
	Varlink = "varlink" // It has the interface io.systemd.Metrics.
)

// Request is one scrape to perform. NewRequest makes it; the caller may then change it.
type Request struct {
	// Protocol is HTTP by default.
	Protocol string
	// Path is the path to request, "/metrics" by default.
	Path string
	// Params are added to the scraper's query, for the keys that it lacks.
	Params map[string]string
	// Host is the scraper's by default.
	Host string
	// ContentType, unless empty, replaces that of the response.
	ContentType string
	// Timeout is how long the scrape may take, from finding the socket to the last byte
	// of the body. The caller sets the deadline of the context accordingly.
	Timeout time.Duration

	from          *http.Request // the scraper's
	timeoutHeader string        // as the scraper sent it; empty if it is missing or invalid
	timeoutAdvice string        // how to get more time
}

// NewRequest returns the request for the service that corresponds to the scraper's. It has the same
// query, byte for byte, Host, Accept, Accept-Encoding, User-Agent and, if valid, scrape timeout.
func NewRequest(from *http.Request) Request {
	// An HTTP/1.0 request may have no Host; HTTP/1.1 requires one.
	req := Request{Protocol: HTTP, Path: "/metrics", Host: cmp.Or(from.Host, "localhost"), from: from}
	value := from.Header.Get(TimeoutHeader)
	if timeout, ok := ParseTimeout(value); ok {
		// A scraper that waits for less than any service needs gives up by itself; Aegis
		// does not count that as the service's failure.
		timeout = max(timeout, limits.MinScrapeTimeout)
		req.Timeout = timeout - min(timeout/10, limits.MaxScrapeTimeoutOffset)
		req.timeoutHeader, req.timeoutAdvice = value, "raise scrape_timeout in Prometheus"
	} else {
		req.Timeout = limits.DefaultScrapeTimeout
		req.timeoutAdvice = "send the header " + TimeoutHeader + ", as Prometheus does"
	}
	return req
}

// LimitTimeout reduces r.Timeout to d, if that is shorter and not 0. An error then gives
// advice as the way to get more time.
func (r *Request) LimitTimeout(d time.Duration, advice string) {
	if d > 0 && d < r.Timeout {
		r.Timeout, r.timeoutAdvice = d, advice
	}
}

// ParseTimeout parses the value of TimeoutHeader, a decimal number of seconds. It returns
// false if value is not a number, not positive, or more than limits.MaxScrapeTimeout.
func ParseTimeout(value string) (time.Duration, bool) {
	if strings.Trim(value, "0123456789.eE+-") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(value, 64)
	timeout := time.Duration(seconds * float64(time.Second))
	return timeout, err == nil && seconds <= limits.MaxScrapeTimeout.Seconds() && timeout > 0
}

// appendTo appends the request to b as it is sent to the service. A raw one is empty.
func (r *Request) appendTo(b []byte) []byte {
	if r.Protocol == Raw {
		return b
	}
	b = appendAll(b, "GET ", r.Path)
	if query := r.query(); query != "" || r.from.URL.ForceQuery {
		b = appendAll(b, "?", query)
	}
	b = appendAll(b, " HTTP/1.1\r\nHost: ", r.Host, "\r\n")
	for _, name := range forwardedHeaders {
		if values := r.from.Header[name]; len(values) > 0 {
			b = appendAll(b, name, ": ", strings.Join(values, ", "), "\r\n")
		}
	}
	if r.timeoutHeader != "" {
		b = appendAll(b, TimeoutHeader, ": ", r.timeoutHeader, "\r\n")
	}
	return append(b, "\r\n"...)
}

// query returns the scraper's query with the Params whose keys it lacks.
func (r *Request) query() string {
	query := r.from.URL.RawQuery
	if len(r.Params) == 0 {
		return query
	}
	sent, missing := r.from.URL.Query(), make(url.Values)
	for key, value := range r.Params {
		if !sent.Has(key) {
			missing.Set(key, value)
		}
	}
	return strings.Trim(query+"&"+missing.Encode(), "&")
}

// hostAdvice returns what to append to an error that another Host may avoid. nginx answers an unknown one with
// 400, 403, 404 or 421, or closes the connection (its status 444).
func (r *Request) hostAdvice() string {
	if r.Protocol != HTTP {
		return ""
	}
	return fmt.Sprintf("; the request named the Host %s; if the service expects another, "+
		"set host in the targets file (-config.file)", printable(r.Host))
}

func appendAll(b []byte, parts ...string) []byte {
	for _, part := range parts {
		b = append(b, part...)
	}
	return b
}
