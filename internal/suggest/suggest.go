// Package suggest finds the word that a user may have meant.
package suggest

import "strings"

// Nearest returns the one of known that differs from word in at most a third of its letters, regardless of
// case and of separators between words. It returns "" if there is none.
func Nearest(word string, known []string) (nearest string) {
	word = letters(word)
	least := len(word)/3 + 1
	for _, k := range known {
		if d := distance(word, letters(k)); d < least {
			nearest, least = k, d
		}
	}
	return nearest
}

func letters(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", ".", "", "_", "").Replace(s))
}

// distance returns how many bytes must be added, removed or replaced to make b out of a (Levenshtein distance).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // the distances from a[:i] to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
