package cache

import "bytes"

// Structured fields (RFC 9651, which contains RFC 8941), as far as the fields need
// them that are read here: dictionaries and lists whose items are Booleans,
// Integers, Strings or Tokens. Other types are parsed, so that what is beside them
// is understood, and dropped. Parameters too are parsed and dropped. Parsing is
// strict: one mistake anywhere and the whole field counts as absent (§4.2).

// sfKind is the type of an item.
type sfKind uint8

const (
	sfOther sfKind = iota
	sfBool
	sfInteger
	sfString
	sfToken
	sfInner // an inner list
)

// sfItem is an item or an inner list.
type sfItem struct {
	kind sfKind
	num  int64 // of an Integer; 1 for a true Boolean
	text []byte
	list []sfItem // of an inner list
}

func (i *sfItem) isTrue() bool { return i.kind == sfBool && i.num == 1 }

// The bounds of a field that is parsed. One that exceeds them counts as invalid.
const (
	maxSFBytes   = 16 << 10
	maxSFMembers = 1024
)

// sfParser consumes a field's value from the front. ok turns false at the first
// mistake and stays so.
type sfParser struct {
	rest []byte
	ok   bool
	left int // members that may still come
}

// structured gives a parser for the lines of a field, joined as RFC 9651 §4.2 says.
// present is false without a line.
func structured(h Header, name string) (p sfParser, present bool) {
	lines := 0
	for v := range h.Values(name) {
		if lines++; lines == 1 {
			p.rest = v
		}
	}
	if lines > 1 {
		p.rest, _ = h.AppendJoined(nil, []byte(name))
	}
	p.rest = bytes.Trim(p.rest, " ")
	p.ok, p.left = len(p.rest) <= maxSFBytes, maxSFMembers
	return p, lines > 0
}

// dictionary reads a Dictionary (§4.2.2) and calls member for each; of members with
// one key the last counts, so a caller that keeps values must let later ones win.
// It reports whether all of it was valid and not empty: what member did before must
// be undone when not.
func (p *sfParser) dictionary(member func(key []byte, v *sfItem)) bool {
	any := false
	for p.ok && len(p.rest) > 0 {
		key := p.key()
		v := sfItem{kind: sfBool, num: 1}
		if p.take('=') {
			v = p.itemOrInner()
		} else {
			p.parameters()
		}
		if !p.ok || !p.comma() {
			return false
		}
		member(key, &v)
		any = true
	}
	return p.ok && any
}

// list reads a List (§4.2.1), like dictionary.
func (p *sfParser) list(member func(v *sfItem)) bool {
	any := false
	for p.ok && len(p.rest) > 0 {
		v := p.itemOrInner()
		if !p.ok || !p.comma() {
			return false
		}
		member(&v)
		any = true
	}
	return p.ok && any
}

// comma moves past what separates two members. A comma at the end is a mistake.
func (p *sfParser) comma() bool {
	if p.left--; p.left < 0 {
		p.ok = false
	}
	p.rest = trimLeft(p.rest)
	if len(p.rest) == 0 {
		return p.ok
	}
	if !p.take(',') {
		p.ok = false
	}
	if p.rest = trimLeft(p.rest); len(p.rest) == 0 {
		p.ok = false
	}
	return p.ok
}

func (p *sfParser) itemOrInner() sfItem {
	if !p.take('(') {
		return p.item()
	}
	inner := sfItem{kind: sfInner}
	for p.ok {
		p.spaces()
		if p.take(')') {
			p.parameters()
			return inner
		}
		if p.left--; p.left < 0 {
			p.ok = false
			break
		}
		inner.list = append(inner.list, p.item())
		if len(p.rest) == 0 || (p.rest[0] != ' ' && p.rest[0] != ')') {
			p.ok = false
		}
	}
	return inner
}

func (p *sfParser) item() sfItem {
	i := p.bareItem()
	p.parameters()
	return i
}

func (p *sfParser) parameters() {
	for p.ok && p.take(';') {
		p.spaces()
		p.key()
		if p.take('=') {
			p.bareItem()
		}
	}
}

// key reads a key (§4.2.3.3).
func (p *sfParser) key() []byte {
	n := 0
	for n < len(p.rest) {
		c := p.rest[n]
		start := c == '*' || (c >= 'a' && c <= 'z')
		if !start && (n == 0 || !isDigit(c) && c != '_' && c != '-' && c != '.') {
			break
		}
		n++
	}
	return p.cut(n)
}

func (p *sfParser) bareItem() sfItem {
	if !p.ok || len(p.rest) == 0 {
		p.ok = false
		return sfItem{}
	}
	switch c := p.rest[0]; {
	case c == '-' || isDigit(c):
		return p.number()
	case c == '"':
		return sfItem{kind: sfString, text: p.str()}
	case c == '*' || (lower(c) >= 'a' && lower(c) <= 'z'):
		return sfItem{kind: sfToken, text: p.token()}
	case c == '?':
		return p.boolean()
	case c == ':':
		p.bytes()
	case c == '@':
		p.rest = p.rest[1:]
		if n := p.number(); n.kind != sfInteger {
			p.ok = false
		}
	case c == '%':
		p.displayString()
	default:
		p.ok = false
	}
	return sfItem{}
}

// number reads an Integer or a Decimal (§4.2.4); of the latter nothing is kept.
func (p *sfParser) number() sfItem {
	negative := p.take('-')
	n := 0
	var v int64
	for n < len(p.rest) && isDigit(p.rest[n]) && n <= 15 {
		v = v*10 + int64(p.rest[n]-'0')
		n++
	}
	if n > 15 {
		p.ok = false
	}
	p.cut(n)
	if !p.take('.') {
		if negative {
			v = -v
		}
		return sfItem{kind: sfInteger, num: v}
	}
	f := 0
	for f < len(p.rest) && isDigit(p.rest[f]) {
		f++
	}
	if n > 12 || f > 3 {
		p.ok = false
	}
	p.cut(f)
	return sfItem{}
}

// str reads a String (§4.2.5). It allocates only for one with a backslash.
func (p *sfParser) str() []byte {
	p.rest = p.rest[1:]
	var unescaped []byte
	start := 0
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			text := p.rest[start:i]
			p.rest = p.rest[i+1:]
			if unescaped != nil {
				return append(unescaped, text...)
			}
			return text
		case c == '\\':
			if i+1 == len(p.rest) || (p.rest[i+1] != '"' && p.rest[i+1] != '\\') {
				p.ok = false
				return nil
			}
			unescaped = append(unescaped, p.rest[start:i]...)
			i++
			start = i
		case c < ' ' || c > '~':
			p.ok = false
			return nil
		}
	}
	p.ok = false
	return nil
}

// token reads a Token (§4.2.6).
func (p *sfParser) token() []byte {
	n := 0
	for n < len(p.rest) && (isTokenByte(p.rest[n]) || p.rest[n] == ':' || p.rest[n] == '/') {
		n++
	}
	return p.cut(n)
}

func (p *sfParser) boolean() sfItem {
	if len(p.rest) < 2 || (p.rest[1] != '0' && p.rest[1] != '1') {
		p.ok = false
		return sfItem{}
	}
	v := sfItem{kind: sfBool, num: int64(p.rest[1] - '0')}
	p.rest = p.rest[2:]
	return v
}

// bytes moves past a Byte Sequence (§4.2.7).
func (p *sfParser) bytes() {
	end := bytes.IndexByte(p.rest[1:], ':')
	if end < 0 {
		p.ok = false
		return
	}
	for _, c := range p.rest[1 : end+1] {
		if !isDigit(c) && (lower(c) < 'a' || lower(c) > 'z') && c != '+' && c != '/' && c != '=' {
			p.ok = false
		}
	}
	p.rest = p.rest[end+2:]
}

// displayString moves past a Display String (RFC 9651 §4.2.10). Whether what it
// encodes is UTF-8 does not matter to what is beside it.
func (p *sfParser) displayString() {
	b := p.rest
	if len(b) < 2 || b[1] != '"' {
		p.ok = false
		return
	}
	for i := 2; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			p.rest = b[i+1:]
			return
		case c == '%':
			if i+2 >= len(b) || !isLowerHex(b[i+1]) || !isLowerHex(b[i+2]) {
				p.ok = false
				return
			}
			i += 2
		case c < ' ' || c > '~':
			p.ok = false
			return
		}
	}
	p.ok = false
}

func isLowerHex(c byte) bool { return isDigit(c) || (c >= 'a' && c <= 'f') }

// cut gives the next n bytes; none is a mistake.
func (p *sfParser) cut(n int) []byte {
	if n == 0 {
		p.ok = false
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *sfParser) take(c byte) bool {
	if !p.ok || len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *sfParser) spaces() {
	for len(p.rest) > 0 && p.rest[0] == ' ' {
		p.rest = p.rest[1:]
	}
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}
