package webhook

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep JSON may nest, as encoding/json does.
const maxDepth = 10000

// field is a name that is looked for in JSON objects, with those within its value.
type field struct {
	name  string
	slots uint32 // bit i: the value's text goes into scanner.found[i]
	sub   []*field
}

// add looks for the field at a dotted path, too.
func (f *field) add(path string, slot int) {
	for name := range strings.SplitSeq(path, ".") {
		f = f.enter(name)
	}
	f.slots |= 1 << slot
}

func (f *field) enter(name string) *field {
	for _, c := range f.sub {
		if c.name == name {
			return c
		}
	}
	c := &field{name: name}
	f.sub = append(f.sub, c)
	return c
}

// child gives the field within f that a key, with its quotes, names; nil: none.
func (f *field) child(key string) *field {
	if f == nil || len(f.sub) == 0 {
		return nil
	}
	name := unquote(key)
	for _, c := range f.sub {
		if c.name == name {
			return c
		}
	}
	return nil
}

// scanner reads JSON once: it checks the grammar, as strictly as encoding/json, and
// notes the text of the values that are looked for. Of several fields of one name the
// last counts, as in most JSON libraries.
type scanner struct {
	s     string
	pos   int
	depth int
	found [slotCount]string
}

// scan is false when s is not a JSON object; nothing is found then.
func (s *scanner) scan(text string, root *field) bool {
	*s = scanner{s: text}
	ok := s.peek() == '{' && s.object(root)
	s.peek()
	if ok = ok && s.pos == len(s.s); !ok {
		s.found = [slotCount]string{}
	}
	return ok
}

// peek skips white space and gives the byte there; 0 at the end.
func (s *scanner) peek() byte {
	for ; s.pos < len(s.s); s.pos++ {
		switch c := s.s[s.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) value(f *field) bool {
	switch c := s.peek(); c {
	case '{':
		return s.object(f)
	case '[':
		return s.array()
	case '"':
		return s.str()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) object(f *field) bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	defer func() { s.depth-- }()
	s.pos++
	if s.peek() == '}' {
		s.pos++
		return true
	}
	for s.peek() == '"' && s.member(f) {
		end := s.peek()
		s.pos++
		if end == '}' {
			return true
		}
		if end != ',' {
			return false
		}
	}
	return false
}

// member reads one field of an object.
func (s *scanner) member(f *field) bool {
	start := s.pos
	if !s.str() {
		return false
	}
	child := f.child(s.s[start:s.pos])
	if s.peek() != ':' {
		return false
	}
	s.pos++
	s.forget(child)
	s.peek()
	start = s.pos
	if !s.value(child) {
		return false
	}
	if child != nil {
		s.note(child, s.s[start:s.pos])
	}
	return true
}

// forget drops what an earlier field of the same name gave.
func (s *scanner) forget(f *field) {
	if f == nil {
		return
	}
	s.note(f, "")
	for _, c := range f.sub {
		s.forget(c)
	}
}

func (s *scanner) note(f *field, text string) {
	for i := range s.found {
		if f.slots&(1<<i) != 0 {
			s.found[i] = text
		}
	}
}

func (s *scanner) array() bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	defer func() { s.depth-- }()
	s.pos++
	if s.peek() == ']' {
		s.pos++
		return true
	}
	for s.value(nil) {
		end := s.peek()
		s.pos++
		if end == ']' {
			return true
		}
		if end != ',' {
			return false
		}
	}
	return false
}

// str reads a string, from its opening to past its closing quote.
func (s *scanner) str() bool {
	for s.pos++; s.pos < len(s.s); s.pos++ {
		switch c := s.s[s.pos]; {
		case c == '"':
			s.pos++
			return true
		case c == '\\':
			if !s.escape() {
				return false
			}
		case c < ' ':
			return false
		}
	}
	return false
}

// escape reads an escape but for its last byte.
func (s *scanner) escape() bool {
	if s.pos++; s.pos == len(s.s) {
		return false
	}
	if s.s[s.pos] != 'u' {
		return strings.IndexByte(`"\/bfnrt`, s.s[s.pos]) >= 0
	}
	if hex4(s.s[s.pos+1:]) < 0 {
		return false
	}
	s.pos += 4
	return true
}

// hex4 reads four hexadecimal digits; negative when they are not there.
func hex4(s string) rune {
	if len(s) < 4 {
		return -1
	}
	var r rune
	for _, c := range []byte(s[:4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

func (s *scanner) literal(word string) bool {
	ok := strings.HasPrefix(s.s[s.pos:], word)
	s.pos += len(word)
	return ok
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?.
func (s *scanner) number() bool {
	s.accept("-")
	if !s.accept("0") && !s.digits() {
		return false
	}
	if s.accept(".") && !s.digits() {
		return false
	}
	if s.accept("eE") {
		s.accept("+-")
		return s.digits()
	}
	return true
}

// accept takes one byte if it is one of those.
func (s *scanner) accept(set string) bool {
	if s.pos < len(s.s) && strings.IndexByte(set, s.s[s.pos]) >= 0 {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.s) && s.s[s.pos] >= '0' && s.s[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// isString says whether the text of a JSON value is that of a string.
func isString(raw string) bool { return len(raw) >= 2 && raw[0] == '"' }

// plain says whether the text of a JSON string is the string, but for its quotes.
func plain(raw string) bool { return strings.IndexByte(raw, '\\') < 0 && utf8.ValidString(raw) }

// unquote gives the string that the text of a JSON string stands for.
func unquote(raw string) string {
	if plain(raw) {
		return raw[1 : len(raw)-1]
	}
	return string(appendUnquoted(nil, raw))
}

// appendUnquoted does likewise. What is not UTF-8, or half a surrogate pair, becomes
// U+FFFD, as in encoding/json.
func appendUnquoted(dst []byte, raw string) []byte {
	for raw = raw[1 : len(raw)-1]; raw != ""; {
		switch c := raw[0]; {
		case c == '\\' && raw[1] == 'u':
			r, n := hex4(raw[2:]), 6
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if strings.HasPrefix(raw[6:], `\u`) {
					low = hex4(raw[8:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					n = 12
				}
			}
			dst, raw = utf8.AppendRune(dst, r), raw[n:]
		case c == '\\':
			dst, raw = append(dst, unescaped(raw[1])), raw[2:]
		case c < utf8.RuneSelf:
			dst, raw = append(dst, c), raw[1:]
		default:
			r, n := utf8.DecodeRuneInString(raw)
			dst, raw = utf8.AppendRune(dst, r), raw[n:]
		}
	}
	return dst
}

func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}
