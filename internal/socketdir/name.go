package socketdir

// Suffix ends the file name of every socket: NAME.sock.
const Suffix = ".sock"

// NameMax is the longest name in bytes. With Suffix it is the 255 bytes that
// Linux allows a file name.
const NameMax = 255 - len(Suffix)

// ValidName reports whether name may be looked up: 1 to NameMax bytes of
// ASCII letters, digits and . _ - @ : +, beginning with a letter or digit.
// Such a name is one path component and can be neither "." nor "..".
func ValidName(name string) bool {
	if len(name) == 0 || len(name) > NameMax || !alphanumeric(name[0]) {
		return false
	}
	for i := 1; i < len(name); i++ {
		switch c := name[i]; {
		case alphanumeric(c):
		case c == '.', c == '_', c == '-', c == '@', c == ':', c == '+':
		default:
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
