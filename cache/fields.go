package cache

import "iter"

// Field is one header field line. Name is matched without regard to case; Value
// has no leading or trailing whitespace where it came from a parsed message.
type Field struct{ Name, Value []byte }

// Header is a message's header fields in the order they were received. Repeated
// names stay separate lines, because joining them would change Set-Cookie and
// Expires (RFC 9110 §5.3). It aliases whatever buffer its fields were cut from.
// Its methods only read, so a Header may be shared between goroutines.
type Header []Field

// Get gives the value of the first field with the name, or nil. A field that is
// present and empty gives an empty value or nil: use Has to tell them apart.
func (h Header) Get(name string) []byte {
	for i := range h {
		if equalFold(h[i].Name, name) {
			return h[i].Value
		}
	}
	return nil
}

// Has reports whether a field with the name is present, empty or not.
func (h Header) Has(name string) bool {
	for i := range h {
		if equalFold(h[i].Name, name) {
			return true
		}
	}
	return false
}

// Values gives the value of each line with the name, in order.
func (h Header) Values(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range h {
			if equalFold(h[i].Name, name) && !yield(h[i].Value) {
				return
			}
		}
	}
}

// List gives the elements of a list field across all its lines (RFC 9110
// §5.6.1). Empty elements are skipped.
func (h Header) List(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range h {
			if !equalFold(h[i].Name, name) {
				continue
			}
			c := listCursor{rest: h[i].Value}
			for e, ok := c.next(); ok; e, ok = c.next() {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// AppendJoined appends the lines with the name to dst as one value, joined by
// ", " (RFC 9110 §5.3), and reports whether there was one. It is the lookup that
// AppendVary asks for.
func (h Header) AppendJoined(dst, name []byte) ([]byte, bool) {
	found := false
	for i := range h {
		if !equalFoldBytes(h[i].Name, name) {
			continue
		}
		if found {
			dst = append(dst, ", "...)
		}
		dst, found = append(dst, h[i].Value...), true
	}
	return dst, found
}

// listCursor walks the elements of a comma-separated value. Commas inside a
// quoted string do not separate (RFC 9110 §5.6.4).
type listCursor struct {
	rest []byte
	// unquoted is set once a quote was found that never closes. From there on
	// quotes are ordinary characters, so that a stray quote cannot hide a
	// no-store behind it, and so that each byte is looked at a bounded number of
	// times.
	unquoted bool
}

// next gives the next element that is not empty, without whitespace around it.
func (c *listCursor) next() ([]byte, bool) {
	for len(c.rest) > 0 {
		end := c.elementEnd()
		element := trimSpace(c.rest[:end])
		if end < len(c.rest) {
			end++ // the comma
		}
		c.rest = c.rest[end:]
		if len(element) > 0 {
			return element, true
		}
	}
	return nil, false
}

// elementEnd gives the index of the comma that ends the first element of rest,
// or its length.
func (c *listCursor) elementEnd() int {
	for i := 0; i < len(c.rest); i++ {
		switch {
		case c.rest[i] == ',':
			return i
		case c.rest[i] == '"' && !c.unquoted:
			closing := quoteEnd(c.rest, i)
			if closing < 0 {
				c.unquoted = true
				continue
			}
			i = closing
		}
	}
	return len(c.rest)
}

// quoteEnd gives the index of the quote that closes the quoted string opened at
// start, or -1. A backslash escapes the character after it.
func quoteEnd(b []byte, start int) int {
	for i := start + 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// trimSpace cuts optional whitespace, spaces and tabs, from both ends.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalFold compares ASCII without regard to case. Unicode folding would take
// U+212A for a k, which no field name means.
func equalFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func equalFoldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// isToken reports whether b is a token (RFC 9110 §5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		if !isTokenByte(c) {
			return false
		}
	}
	return len(b) > 0
}

func isTokenByte(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return isDigit(c) || (lower(c) >= 'a' && lower(c) <= 'z')
}

// isFieldValue reports whether b can stand in a field value: no CR, LF or NUL
// (RFC 9110 §5.5), which would let a stored response inject another.
func isFieldValue(b []byte) bool {
	for _, c := range b {
		if c == '\r' || c == '\n' || c == 0 {
			return false
		}
	}
	return true
}
