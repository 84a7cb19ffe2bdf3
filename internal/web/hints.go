package web

import (
	"strings"

	"tulpa.dev/cadey/aegis/internal/socketdir"
	"tulpa.dev/cadey/aegis/internal/targetsfile"
)

// Hint says what somebody who asked for name, which is no socket, may have
// meant: the likely slips. It is empty where there is nothing to say.
func Hint(name string) string {
	first, rest, slash := strings.Cut(name, "/")
	switch {
	case first == targetsfile.ReservedName && socketdir.ValidName(rest):
		return "; ask for /" + rest + ", Aegis adds /metrics itself"
	case name == targetsfile.ReservedName+socketdir.Suffix:
		return "; a socket of that name is not served: /" + targetsfile.ReservedName + " is a page of Aegis' own; have its service call it otherwise"
	case first == "-" || first == targetsfile.ReservedName || name == "sd":
		return "; Aegis' own pages are /, /metrics, /-/sd, /-/healthy and /-/ready"
	case slash && socketdir.ValidName(first) && (rest == "" || rest == "metrics"):
		return "; ask for /" + first + ", Aegis adds /metrics itself"
	case slash:
		return "; a name has no slash, it is the file name of the socket without " + socketdir.Suffix
	case socketdir.ValidName(name) && strings.HasSuffix(name, socketdir.Suffix):
		return "; the name is " + strings.TrimSuffix(name, socketdir.Suffix) + ", without " + socketdir.Suffix
	}
	return ""
}
