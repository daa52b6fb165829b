package strictyaml

import (
	"reflect"
	"strings"
)

// Nearest gives the candidate that name is most likely a misspelling of, or "".
// Case, hyphens and underscores count for nothing.
func Nearest(name string, candidates []string) string {
	const longest = 64 // beyond it, a name is no misspelling, and the distance costs its square
	if len(name) > longest {
		return ""
	}
	best, least := "", 0
	for _, c := range candidates {
		limit := min(max(1, (len(c)+2)/4), 3)
		if d := distance(plainName(name), plainName(c)); d <= limit && (best == "" || d < least) {
			best, least = c, d
		}
	}
	return best
}

func plainName(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// meantKey gives the key of t that an unknown one was probably meant to be: a
// near miss, or a key of the same name one level down.
func meantKey(name string, t reflect.Type) string {
	if n := Nearest(name, keyNames(t)); n != "" {
		return n
	}
	for _, f := range fieldsOf(t) {
		if f.Type.Kind() != reflect.Struct {
			continue
		}
		for _, inner := range keyNames(f.Type) {
			if inner == name {
				return f.Name + "." + inner
			}
		}
	}
	return ""
}
