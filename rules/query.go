package rules

import "bytes"

// matchQuery says whether a parameter called name has a value that g matches. The
// query is read as a form: pairs parted by "&", "+" for a space, percent-escapes
// decoded; an escape that is none stands for itself.
func matchQuery(query []byte, name string, g *glob) bool {
	for len(query) > 0 {
		pair := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		key, value, _ := bytes.Cut(pair, equals)
		if len(pair) > 0 && formEqual(key, name) && formMatch(value, g) {
			return true
		}
	}
	return false
}

var equals = []byte("=")

// formByte decodes the byte at raw[i] and gives the place of the next.
func formByte(raw []byte, i int) (c byte, next int) {
	switch c = raw[i]; {
	case c == '+':
		return ' ', i + 1
	case c == '%' && i+2 < len(raw) && isHex(raw[i+1]) && isHex(raw[i+2]):
		return unhex(raw[i+1])<<4 | unhex(raw[i+2]), i + 3
	}
	return c, i + 1
}

func formEqual(raw []byte, want string) bool {
	i, k := 0, 0
	for i < len(raw) && k < len(want) {
		c, next := formByte(raw, i)
		if c != want[k] {
			return false
		}
		i, k = next, k+1
	}
	return i == len(raw) && k == len(want)
}

// formMatch matches without a buffer for the decoded value, whose length the client
// chooses. Only the last star is ever tried again: work is bounded by the length of
// the value times that of the glob.
func formMatch(raw []byte, g *glob) bool {
	if bytes.IndexByte(raw, '%') < 0 && bytes.IndexByte(raw, '+') < 0 {
		return g.match(raw)
	}
	i, k := 0, 0
	star, retry := -1, 0
	for i < len(raw) {
		c, next := formByte(raw, i)
		switch {
		case k < len(g.text) && g.text[k] == '*':
			star, retry = k, i
			k++
		case k < len(g.text) && g.text[k] == c:
			i, k = next, k+1
		case star >= 0:
			_, retry = formByte(raw, retry)
			i, k = retry, star+1
		default:
			return false
		}
	}
	for k < len(g.text) && g.text[k] == '*' {
		k++
	}
	return k == len(g.text)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
