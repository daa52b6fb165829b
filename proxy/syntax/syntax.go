// Package syntax has the lexical rules of HTTP (RFC 9110 §5) that several readers of
// messages share. Nothing in it allocates.
package syntax

// TokenByte says whether c is a tchar (RFC 9110 §5.6.2).
func TokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

// Token says whether b is a token, such as a field name.
func Token(b []byte) bool {
	for _, c := range b {
		if !TokenByte(c) {
			return false
		}
	}
	return len(b) > 0
}

// HasControl reports a byte that no line of a message may carry, tab excepted.
func HasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// FoldEqual compares with a lower-case ASCII text, without regard to case. Not
// bytes.EqualFold: that folds Unicode, so that a Kelvin sign would equal a k.
func FoldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// TrimOWS removes optional white space around a value (RFC 9110 §5.6.3).
func TrimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// HexDigit gives the value of a hexadecimal digit.
func HexDigit(c byte) (value byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
