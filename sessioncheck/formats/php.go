package formats

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// php is the session handler of phpredis with PHP's own serializers. PHP renews by the
// lifetime of session.gc_maxlifetime.
func php() *Format {
	return &Format{
		Name: "php", Key: "PHPREDIS_SESSION:{id}", Cookies: []string{"PHPSESSID"},
		TTL: 24 * time.Minute, Sliding: true, User: "user_id", Login: []string{"user_id"},
		Stored: "a session as session.serialize_handler php or php_serialize writes it, of at most 64 KiB", Decode: phpSession,
		verifier: func([]string, string) (Verifier, error) { return newPlain(22, maxIDBytes, alnum+"-,"), nil },
	}
}

// phpSession reads both handlers of PHP: php (name|value name|value …) and
// php_serialize (one array). nil when it is neither.
func phpSession(raw string) map[string]any {
	if len(raw) > MaxBytes {
		return nil
	}
	if strings.HasPrefix(raw, "a:") {
		if doc, ok := phpArray(raw); ok {
			return doc
		}
	}
	r := &phpReader{reader{data: raw}}
	doc := map[string]any{}
	for r.left() > 0 {
		name, ok := r.until('|')
		if !ok {
			return nil
		}
		if strings.HasPrefix(name, "!") { // declared, without a value
			continue
		}
		if doc[name], ok = r.value(0); !ok {
			return nil
		}
	}
	return doc
}

// phpArray reads a serialized array as an object, whatever its keys are.
func phpArray(raw string) (map[string]any, bool) {
	if len(raw) > MaxBytes {
		return nil, false
	}
	r := &phpReader{reader{data: raw}}
	v, ok := r.value(0)
	if !ok || r.left() > 0 {
		return nil, false
	}
	if list, isList := v.([]any); isList {
		doc := make(map[string]any, len(list))
		for i, e := range list {
			doc[strconv.Itoa(i)] = e
		}
		return doc, true
	}
	doc, ok := v.(map[string]any)
	return doc, ok
}

// phpReader reads what serialize() writes. Objects and enums are passed over; what
// unserializes itself by code of its class (C:) has no form of its own and is refused.
type phpReader struct{ reader }

func (r *phpReader) until(end byte) (string, bool) {
	i := strings.IndexByte(r.data[r.pos:], end)
	if i < 0 {
		return "", false
	}
	s := r.data[r.pos : r.pos+i]
	r.pos += i + 1
	return s, true
}

func (r *phpReader) literal(s string) bool {
	ok := strings.HasPrefix(r.data[r.pos:], s)
	if ok {
		r.pos += len(s)
	}
	return ok
}

func (r *phpReader) value(depth int) (any, bool) {
	if !r.element() {
		return nil, false
	}
	kind, ok := r.byte()
	if !ok {
		return nil, false
	}
	if kind == 'N' {
		return nil, r.literal(";")
	}
	if !r.literal(":") {
		return nil, false
	}
	switch kind {
	case 'b', 'i', 'd', 'R', 'r':
		return r.scalar(kind)
	case 's':
		s, ok := r.quoted()
		return text(s), ok && r.literal(";")
	case 'a':
		return r.array(depth)
	case 'O':
		if _, ok := r.quoted(); !ok || !r.literal(":") {
			return nil, false
		}
		_, ok := r.array(depth)
		return Opaque{}, ok
	case 'E':
		_, ok := r.quoted()
		return Opaque{}, ok && r.literal(";")
	}
	return nil, false
}

func (r *phpReader) scalar(kind byte) (any, bool) {
	word, ok := r.until(';')
	if !ok {
		return nil, false
	}
	switch kind {
	case 'b':
		return word == "1", word == "0" || word == "1"
	case 'i':
		n, err := strconv.ParseInt(word, 10, 64)
		return integer(n), err == nil
	case 'd':
		f, err := strconv.ParseFloat(word, 64)
		return float(f), err == nil
	}
	_, err := strconv.ParseUint(word, 10, 32) // a reference to another value
	return Opaque{}, err == nil
}

// quoted reads LENGTH:"BYTES". The length counts: quotes within are not escaped.
func (r *phpReader) quoted() (string, bool) {
	word, ok := r.until(':')
	if !ok || !r.literal(`"`) {
		return "", false
	}
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		return "", false
	}
	s, ok := r.take(n)
	return s, ok && r.literal(`"`)
}

// array reads COUNT:{key value …}. Keys 0, 1, 2, … in order make a list.
func (r *phpReader) array(depth int) (any, bool) {
	word, ok := r.until(':')
	n, err := strconv.ParseUint(word, 10, 32)
	if !ok || err != nil || depth >= MaxDepth || n > uint64(r.left()) || !r.literal("{") {
		return nil, false
	}
	object, list, isList := map[string]any{}, []any{}, true
	for i := range n {
		key, ok := r.key()
		if !ok {
			return nil, false
		}
		v, ok := r.value(depth + 1)
		if !ok {
			return nil, false
		}
		isList = isList && key == strconv.FormatUint(i, 10)
		if object[key] = v; isList {
			list = append(list, v)
		}
	}
	if !r.literal("}") {
		return nil, false
	}
	if isList {
		return list, true
	}
	return object, true
}

// key reads a number, or text that may be no UTF-8: a private property has NULs.
func (r *phpReader) key() (string, bool) {
	if r.literal("s:") {
		s, ok := r.quoted()
		return s, ok && r.literal(";")
	}
	if !strings.HasPrefix(r.data[r.pos:], "i:") {
		return "", false
	}
	v, ok := r.value(MaxDepth)
	n, isNumber := v.(json.Number)
	return n.String(), ok && isNumber
}
