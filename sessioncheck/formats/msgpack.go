package formats

import (
	"encoding/json"
	"math"
	"strconv"
)

// msgpack reads a MessagePack map and nothing behind it; nil when it is none.
func msgpack(raw string) map[string]any {
	if len(raw) > MaxBytes {
		return nil
	}
	m := &msgpackReader{reader{data: raw}}
	v, ok := m.value(0)
	if !ok || m.left() > 0 {
		return nil
	}
	doc, _ := v.(map[string]any)
	return doc
}

type msgpackReader struct{ reader }

func (m *msgpackReader) value(depth int) (any, bool) {
	c, ok := m.byte()
	if !ok || !m.element() {
		return nil, false
	}
	switch {
	case c < 0x80:
		return integer(int64(c)), true
	case c < 0x90:
		return m.object(uint64(c&0x0f), depth)
	case c < 0xa0:
		return m.list(uint64(c&0x0f), depth)
	case c < 0xc0:
		return m.str(uint64(c & 0x1f))
	case c >= 0xe0:
		return integer(int64(int8(c))), true
	}
	return m.tagged(c, depth)
}

// tagged reads what has its length or value behind the first byte.
func (m *msgpackReader) tagged(c byte, depth int) (any, bool) {
	switch {
	case c == 0xc0:
		return nil, true
	case c == 0xc2 || c == 0xc3:
		return c == 0xc3, true
	case 0xc4 <= c && c <= 0xc6:
		return m.skip(1<<(c-0xc4), 0)
	case 0xc7 <= c && c <= 0xc9:
		return m.skip(1<<(c-0xc7), 1)
	case 0xca <= c && c <= 0xd3:
		return m.number(c)
	case 0xd4 <= c && c <= 0xd8: // fixext: a type and 1 to 16 bytes
		_, ok := m.take(1 + 1<<(c-0xd4))
		return Opaque{}, ok
	case c == 0xc1:
		return nil, false
	}
	var size int
	switch c {
	case 0xd9:
		size = 1
	case 0xda, 0xdc, 0xde:
		size = 2
	default:
		size = 4
	}
	n, ok := m.big(size)
	switch {
	case !ok:
		return nil, false
	case c <= 0xdb:
		return m.str(n)
	case c <= 0xdd:
		return m.list(n, depth)
	}
	return m.object(n, depth)
}

// skip passes over binary data, and over extensions, which have one more byte.
func (m *msgpackReader) skip(size int, extra uint64) (any, bool) {
	n, ok := m.big(size)
	if ok {
		_, ok = m.take(n + extra)
	}
	return Opaque{}, ok
}

func (m *msgpackReader) number(c byte) (any, bool) {
	switch c {
	case 0xca:
		bits, ok := m.big(4)
		return float(float64(math.Float32frombits(uint32(bits)))), ok
	case 0xcb:
		bits, ok := m.big(8)
		return float(math.Float64frombits(bits)), ok
	case 0xcc, 0xcd, 0xce, 0xcf:
		n, ok := m.big(1 << (c - 0xcc))
		return json.Number(strconv.FormatUint(n, 10)), ok
	}
	size := 1 << (c - 0xd0)
	n, ok := m.big(size)
	shift := 64 - 8*size
	return integer(int64(n<<shift) >> shift), ok
}

func (m *msgpackReader) str(n uint64) (any, bool) {
	s, ok := m.take(n)
	return text(s), ok
}

func (m *msgpackReader) list(n uint64, depth int) (any, bool) {
	if depth >= MaxDepth || n > uint64(m.left()) {
		return nil, false
	}
	list := []any{}
	for range n {
		v, ok := m.value(depth + 1)
		if !ok {
			return nil, false
		}
		list = append(list, v)
	}
	return list, true
}

func (m *msgpackReader) object(n uint64, depth int) (any, bool) {
	if depth >= MaxDepth || n > uint64(m.left()) {
		return nil, false
	}
	object := map[string]any{}
	for range n {
		key, ok := m.value(MaxDepth) // no list or map as a key
		if !ok {
			return nil, false
		}
		name, ok := keyName(key)
		if !ok {
			return nil, false
		}
		if object[name], ok = m.value(depth + 1); !ok {
			return nil, false
		}
	}
	return object, true
}

// keyName gives a key as the name of a field; false for what is neither text nor a number.
func keyName(key any) (string, bool) {
	switch key := key.(type) {
	case string:
		return key, true
	case json.Number:
		return key.String(), true
	}
	return "", false
}
