package target

import (
	"strings"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Suggest returns what to append to the error for name, which is not a target: what the
// user may have meant. It is empty if there is nothing to suggest.
func Suggest(name string) string {
	const (
		reserved = targetsfile.ReservedName
		suffix   = socketdir.Suffix
		ownPages = "; Aegis' own pages are /, /metrics, /-/sd, /-/healthy and /-/ready"
	)
	first, rest, hasSlash := strings.Cut(name, "/")
	switch {
	case first == reserved && socketdir.ValidName(rest):
		return "; use /" + rest + ", Aegis adds /metrics itself"
	case name == reserved+suffix:
		return "; a socket of that name is not served, since /metrics is Aegis' own page; let its service use another name"
	case first == "-" || first == reserved || name == "sd":
		return ownPages
	case hasSlash && socketdir.ValidName(first) && (rest == "" || rest == "metrics"):
		return "; use /" + first + ", Aegis adds /metrics itself"
	case hasSlash:
		return "; a name has no slash: it is the file name of the socket without " + suffix
	case socketdir.ValidName(name) && strings.HasSuffix(name, suffix):
		return "; the name is " + strings.TrimSuffix(name, suffix) + ", without " + suffix
	}
	return ""
}
