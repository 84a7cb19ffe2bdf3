package scrape

import "regexp"

// otherProtocols are protocols that services on Unix sockets speak instead of HTTP, by how they begin.
// Some others close the connection without a word: see errNoResponse.
var otherProtocols = []struct {
	beginning *regexp.Regexp
	what      string
}{
	{regexp.MustCompile(`^\x15\x03`), speaksTLS}, // an alert (RFC 8446 section 5.1)
	{regexp.MustCompile(`(?s)^\x00..\x04\x00\x00\x00\x00\x00`), // a SETTINGS frame (RFC 9113 section 6.5)
		"it speaks HTTP/2 only, as gRPC does; have it serve its metrics over HTTP/1.1"},
	{regexp.MustCompile(`^SSH-`), "it speaks SSH" + useExporter},
	{regexp.MustCompile(`^-[A-Z]+ `), "it speaks Redis' protocol" + useExporter},
	{regexp.MustCompile(`(?s)^E\x00\x00..SFATAL\x00`), "it speaks PostgreSQL's protocol" + useExporter},
	{regexp.MustCompile(`(?s)^...\x00\x0a\d+\.`), "it speaks MySQL's protocol" + useExporter},
	{regexp.MustCompile(`^\x01[\x03\x06\x07\x0b]\x00`), "it speaks FastCGI" + useExporter},
	{regexp.MustCompile(`^\{"(parameters":|error":"[A-Za-z][\w-]*(\.[\w-]+)+")`), "it speaks Varlink; if it has metrics, set protocol: varlink in the targets file"},
	{regexp.MustCompile(`^220[ -]`), "it speaks SMTP or FTP" + useExporter},
}

const (
	speaksTLS   = "it speaks TLS, which a Unix socket does not need; have the service speak plain HTTP on it"
	useExporter = ", not HTTP; scrape an exporter for it instead"
)

// checkProtocol returns an ErrInvalid that names the protocol of a service that is not HTTP but begins
// like a known one.
func checkProtocol(beginning []byte) error {
	for _, p := range otherProtocols {
		if p.beginning.Match(beginning) {
			return invalidf("%s", p.what)
		}
	}
	return nil
}
