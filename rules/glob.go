package rules

import (
	"bytes"
	"strings"
)

// glob is a compiled pattern in which "*" matches any bytes, also none. The
// leftmost place for each literal part between two stars is as good as any other,
// so matching needs no backtracking.
type glob struct {
	text   string
	prefix string // before the first star; the whole text when there is no star
	suffix string // after the last star
	middle [][]byte
	min    int // bytes that a match has at least: prefix and suffix may not overlap
	exact  bool
}

func newGlob(text string) glob {
	parts := strings.Split(text, "*")
	g := glob{text: text, prefix: parts[0], exact: len(parts) == 1}
	for _, p := range parts {
		g.min += len(p)
	}
	if g.exact {
		return g
	}
	g.suffix = parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		if p != "" {
			g.middle = append(g.middle, []byte(p))
		}
	}
	return g
}

func (g *glob) match(b []byte) bool {
	if g.exact {
		return string(b) == g.prefix
	}
	if len(b) < g.min || string(b[:len(g.prefix)]) != g.prefix || string(b[len(b)-len(g.suffix):]) != g.suffix {
		return false
	}
	b = b[len(g.prefix) : len(b)-len(g.suffix)]
	for _, m := range g.middle {
		i := bytes.Index(b, m)
		if i < 0 {
			return false
		}
		b = b[i+len(m):]
	}
	return true
}
