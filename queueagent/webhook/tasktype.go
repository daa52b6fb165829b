package webhook

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// maxTypeLen bounds a task's type: it becomes part of a request line.
const maxTypeLen = 256

// taskType gives the "type" field of a JSON object. It is false when the payload is
// not a JSON object, or has no such field, or the field is not a string or is too
// long. Of several fields of that name the last counts, as in most JSON libraries.
func taskType(payload string) (string, bool) {
	// json.Valid only reads.
	if !json.Valid(unsafe.Slice(unsafe.StringData(payload), len(payload))) {
		return "", false
	}
	s := scanner{payload, 0}
	if s.next() != '{' {
		return "", false
	}
	s.pos++
	found, raw := false, ""
	for s.next() != '}' {
		if s.s[s.pos] == ',' {
			s.pos++
			s.next()
		}
		key := s.value()
		s.next()
		s.pos++ // the colon
		s.next()
		val := s.value()
		if name, ok := unquote(key); ok && name == "type" {
			found, raw = true, val
		}
	}
	if !found {
		return "", false
	}
	typ, ok := unquote(raw)
	return typ, ok && len(typ) <= maxTypeLen
}

// scanner walks JSON that is known to be valid.
type scanner struct {
	s   string
	pos int
}

// next skips white space and gives the byte there.
func (s *scanner) next() byte {
	for strings.IndexByte(" \t\r\n", s.s[s.pos]) >= 0 {
		s.pos++
	}
	return s.s[s.pos]
}

// value reads one value, of any kind, and gives its text.
func (s *scanner) value() string {
	start, depth := s.pos, 0
	for {
		switch s.s[s.pos] {
		case '"':
			s.str()
		case '{', '[':
			depth++
			s.pos++
		case '}', ']':
			depth--
			s.pos++
		default:
			s.scalar(depth > 0)
		}
		if depth == 0 {
			return s.s[start:s.pos]
		}
	}
}

// str reads a string, from its opening to past its closing quote.
func (s *scanner) str() {
	for s.pos++; s.s[s.pos] != '"'; s.pos++ {
		if s.s[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
}

// scalar reads a number or literal; inside a container also what separates values.
func (s *scanner) scalar(inside bool) {
	for s.pos < len(s.s) {
		c := s.s[s.pos]
		if strings.IndexByte(`"{}[]`, c) >= 0 || !inside && strings.IndexByte(", \t\r\n", c) >= 0 {
			return
		}
		s.pos++
	}
}

// unquote gives the value of a JSON string's text.
func unquote(raw string) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if strings.IndexByte(raw, '\\') < 0 && utf8.ValidString(raw) {
		return raw[1 : len(raw)-1], true
	}
	var out string
	err := json.Unmarshal([]byte(raw), &out)
	return out, err == nil
}
