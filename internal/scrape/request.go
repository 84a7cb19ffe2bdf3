package scrape

import (
	"net/http"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
)

// passed are the scraper's header fields that the service may see. Everything
// else, credentials and cookies above all, stays here.
var passed = [...]string{"Accept", "Accept-Encoding", "User-Agent"}

// Request is one scrape to perform.
type Request struct {
	// Timeout is how long the scrape may take: finding the socket, connecting,
	// head and body.
	Timeout time.Duration
	head    []byte
}

// NewRequest makes the request for the service from the scraper's: its query
// string byte for byte, its Host, the negotiation of format and encoding, and
// the deadline where it names one.
func NewRequest(from *http.Request) Request {
	timeout, named := ParseTimeout(from.Header.Get(TimeoutHeader))

	head := make([]byte, 0, 512)
	head = append(head, "GET /metrics"...)
	if from.URL.RawQuery != "" || from.URL.ForceQuery {
		head = append(head, '?')
		head = append(head, from.URL.RawQuery...)
	}
	head = append(head, " HTTP/1.1\r\n"...)
	host := from.Host
	if host == "" {
		host = "localhost" // HTTP/1.0 has none, 1.1 requires one.
	}
	head = appendField(head, "Host", host)
	for _, name := range passed {
		if values := from.Header[name]; len(values) > 0 {
			head = appendField(head, name, strings.Join(values, ", "))
		}
	}
	if !named {
		return Request{Timeout: limits.ScrapeTimeout, head: append(head, "\r\n"...)}
	}
	head = appendField(head, TimeoutHeader, from.Header.Get(TimeoutHeader))
	return Request{Timeout: deadlineWithin(timeout), head: append(head, "\r\n"...)}
}

func appendField(head []byte, name, value string) []byte {
	head = append(head, name...)
	head = append(head, ": "...)
	head = append(head, value...)
	return append(head, "\r\n"...)
}
