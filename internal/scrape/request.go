package scrape

import (
	"net/http"
	"strings"
	"time"

	"tulpa.dev/cadey/aegis/internal/limits"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// passed are the scraper's header fields that the service may see. Everything
// else, credentials and cookies above all, stays here.
var passed = [...]string{"Accept", "Accept-Encoding", "User-Agent"}

// Request is one scrape to perform.
type Request struct {
	Path string
	// Raw is set for a socket that writes its exposition without HTTP.
	Raw bool
	// Timeout is how long the scrape may take: finding the socket, connecting,
	// head and body.
	Timeout time.Duration

	from    *http.Request // the scraper's
	timeout string        // as the scraper named it, empty where that is nonsense
	longer  string        // what gives the scrape more time
	}

// NewRequest makes the request for the service from the scraper's: its query
// string byte for byte, its Host, the negotiation of format and encoding, and
// the deadline where it names one.
func NewRequest(from *http.Request) Request {
	value := from.Header.Get(TimeoutHeader)
	timeout, named := ParseTimeout(value)
	if !named {
		return Request{Timeout: limits.DefaultScrapeTimeout, from: from, Path: targetsfile.Default.Path,
			longer: "ask with a deadline, as Prometheus does: " + TimeoutHeader}
	}
	return Request{Timeout: deadlineWithin(timeout), from: from, timeout: value, Path: targetsfile.Default.Path,
		longer: "give it longer: scrape_timeout in Prometheus"}
}

// To returns r as t needs it: with its path, its protocol, and no more time than
// it is given.
func (r Request) To(t targetsfile.Target) Request {
	r.Path, r.Raw = t.Path, t.Raw
	if t.Timeout > 0 && t.Timeout < r.Timeout {
		r.Timeout, r.longer = t.Timeout, "give it longer: its timeout in the targets file"
	}
	return r
}

// appendHead appends the request as it is sent to the service: nothing, where
// that speaks unasked.
func (r Request) appendHead(head []byte) []byte {
	if r.Raw {
		return head
	}
	head = append(head, "GET "...)
	head = append(head, r.Path...)
	if r.from.URL.RawQuery != "" || r.from.URL.ForceQuery {
		head = append(head, '?')
		head = append(head, r.from.URL.RawQuery...)
	}
	head = append(head, " HTTP/1.1\r\n"...)
	host := r.from.Host
	if host == "" {
		host = "localhost" // HTTP/1.0 has none, 1.1 requires one.
	}
	head = appendField(head, "Host", host)
	for _, name := range passed {
		if values := r.from.Header[name]; len(values) > 0 {
			head = appendField(head, name, strings.Join(values, ", "))
		}
	}
	if r.timeout != "" {
		head = appendField(head, TimeoutHeader, r.timeout)
	}
	return append(head, "\r\n"...)
}

func appendField(head []byte, name, value string) []byte {
	head = append(head, name...)
	head = append(head, ": "...)
	head = append(head, value...)
	return append(head, "\r\n"...)
}

// LimitTimeout bounds the scrape by d; advice says how to allow more time.
func (r *Request) LimitTimeout(d time.Duration, advice string) {
	if d < r.Timeout {
		r.Timeout, r.longer = d, advice
	}
}
