// Package suggest finds the word that a user may have meant.
package suggest

import "strings"

// Nearest returns the one of known that begins and ends most like word, so that at most a third of it differs,
// regardless of case and of separators. It returns "" if there is none.
func Nearest(word string, known []string) (nearest string) {
	word = letters(word)
	most := 0
	for _, k := range known {
		l := letters(k)
		if n := common(word, l); n > most && 3*n >= 2*max(len(word), len(l)) {
			nearest, most = k, n
		}
	}
	return nearest
}

func letters(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", ".", "", "_", "").Replace(s))
}

// common returns how many bytes at the beginning and at the end are the same in a and b.
func common(a, b string) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	for a, b = a[n:], b[n:]; a != "" && b != "" && a[len(a)-1] == b[len(b)-1]; n++ {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return n
}
