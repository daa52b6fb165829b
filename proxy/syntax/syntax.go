// Package syntax has the lexical rules of HTTP (RFC 9110 §5) that several readers of
// messages share. Nothing in it allocates.
package syntax

import "encoding/binary"

// TokenByte says whether c is a tchar (RFC 9110 §5.6.2).
func TokenByte(c byte) bool {
	// A character for each byte: one load, where tests of ranges take several branches.
	const (
		zeros  = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		tchars = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
			"\x00\x01\x00\x01\x01\x01\x01\x01\x00\x00\x01\x01\x00\x01\x01\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x00\x00\x00\x00" +
			"\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x00\x01\x01" +
			"\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x01\x00\x01\x00" +
			zeros + zeros + zeros + zeros
	)
	return tchars[c] != 0
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
	// Eight at a time: a byte below ' ' lends from its highest bit, and a DEL is zero when
	// its bits are turned. A carry may tell of too much, never of too little.
	if len(b) < 8 {
		return hasControl(b)
	}
	for rest := b; len(rest) >= 8; rest = rest[8:] {
		if mayHaveControl(rest) && hasControl(rest[:8]) {
			return true
		}
	}
	last := b[len(b)-8:] // of which some may have been seen
	return mayHaveControl(last) && hasControl(last)
}

// mayHaveControl is about the first eight bytes.
func mayHaveControl(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	w := binary.LittleEndian.Uint64(b)
	del := w ^ 0x7f*ones
	return ((w-' '*ones)&^w|(del-ones)&^del)&highs != 0
}

func hasControl(b []byte) bool {
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
