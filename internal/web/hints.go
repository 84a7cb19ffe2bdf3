package web

import (
	"strings"

	"tulpa.dev/cadey/aegis/internal/config"
	"tulpa.dev/cadey/aegis/internal/sockdir"
)

// Hint says what somebody who asked for name, which is no socket, may have
// meant: the likely slips. It is empty where there is nothing to say.
func Hint(name string) string {
	first, rest, slash := strings.Cut(name, "/")
	switch {
	case first == config.Reserved && sockdir.ValidName(rest):
		return "; ask for /" + rest + ", Aegis adds /metrics itself"
	case name == config.Reserved+sockdir.Suffix:
		return "; a socket of that name is not served: /" + config.Reserved + " is a page of Aegis' own; have its service call it otherwise"
	case first == "-" || first == config.Reserved || name == "sd":
		return "; Aegis' own pages are /, /metrics, /-/sd, /-/healthy and /-/ready"
	case slash && sockdir.ValidName(first) && (rest == "" || rest == "metrics"):
		return "; ask for /" + first + ", Aegis adds /metrics itself"
	case slash:
		return "; a name has no slash, it is the file name of the socket without " + sockdir.Suffix
	case sockdir.ValidName(name) && strings.HasSuffix(name, sockdir.Suffix):
		return "; the name is " + strings.TrimSuffix(name, sockdir.Suffix) + ", without " + sockdir.Suffix
	}
	return ""
}
