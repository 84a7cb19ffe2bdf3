package socketdir

import (
	"fmt"
	"strings"
)

// Suffix is the end of every socket's file name: NAME.sock.
const Suffix = ".sock"

// MaxNameLen is the length of the longest name in bytes. With Suffix that makes the 255
// bytes that Linux allows for a file name.
const MaxNameLen = 255 - len(Suffix)

var errInvalidName = fmt.Errorf("%w: not a valid name; a name is 1 to %d letters, digits and . _ - @ : +, beginning with a letter or digit", ErrNotFound, MaxNameLen)

// ValidName reports whether name consists of 1 to MaxNameLen bytes of ASCII letters,
// digits and . _ - @ : +, and begins with a letter or digit. Such a name is a single path
// component, and neither "." nor "..".
func ValidName(name string) bool {
	for i := range len(name) {
		c := name[i]
		isAlphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !isAlphanumeric && (i == 0 || strings.IndexByte("._-@:+", c) < 0) {
			return false
		}
	}
	return 1 <= len(name) && len(name) <= MaxNameLen
}
