package formats

import (
	"encoding/base64"
	"fmt"
)

const (
	maxIDBytes = 256
	// maxCookieBytes bounds what is decoded; browsers keep no cookie over 4096 bytes.
	maxCookieBytes = 4096

	digits    = "0123456789"
	hexDigits = digits + "abcdef"
	lower     = "abcdefghijklmnopqrstuvwxyz"
	alnum     = digits + lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	// anyIDChars has no pattern or hash-tag character, no space, no control
	// character, nothing that needs quoting in a log.
	anyIDChars = alnum + "-_.~+/=:"
)

// syntax is the form of an id, checked before it reaches Redis.
type syntax struct {
	min, max int
	allowed  [256]bool
	text     string
}

func newSyntax(low, high int, chars string) syntax {
	s := syntax{min: low, max: high, text: fmt.Sprintf("%d to %d characters", low, high)}
	if low == high {
		s.text = fmt.Sprintf("%d characters", low)
	}
	for _, c := range []byte(chars) {
		s.allowed[c] = true
	}
	return s
}

func (s *syntax) valid(id []byte) bool {
	if len(id) < s.min || len(id) > s.max {
		return false
	}
	for _, c := range id {
		if !s.allowed[c] {
			return false
		}
	}
	return true
}

func (s *syntax) step() Step {
	return Step{"the id has the form that the framework gives it (" + s.text + ")",
		"this cookie is not from that framework, or was cut: look at the cookie's name and at session.format"}
}

// plain is an id that the client sends as it is.
type plain struct{ syntax }

func newPlain(low, high int, chars string) *plain { return &plain{newSyntax(low, high, chars)} }

func anyID() *plain { return newPlain(1, maxIDBytes, anyIDChars) }

func (p *plain) AppendID(dst, value []byte) ([]byte, int) {
	if !p.valid(value) {
		return dst, 1
	}
	return append(dst, value...), 0
}

func (p *plain) Steps() []Step { return []Step{p.step()} }

// unescape appends text with its percent escapes decoded, as decodeURIComponent and
// rawurldecode do. It gives false for an escape that is none.
func unescape(dst, text []byte) ([]byte, bool) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' {
			if i+2 >= len(text) {
				return dst, false
			}
			high, ok1 := unhex(text[i+1])
			low, ok2 := unhex(text[i+2])
			if !ok1 || !ok2 {
				return dst, false
			}
			c = high<<4 | low
			i += 2
		}
		dst = append(dst, c)
	}
	return dst, true
}

func unhex(c byte) (byte, bool) {
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

// unbase64 appends the decoded form of standard base64, with its padding or without.
func unbase64(dst, text []byte) ([]byte, bool) {
	for len(text) > 0 && text[len(text)-1] == '=' {
		text = text[:len(text)-1]
	}
	out, err := base64.RawStdEncoding.AppendDecode(dst, text)
	return out, err == nil
}
