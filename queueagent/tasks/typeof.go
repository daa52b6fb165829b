package tasks

import (
	"encoding/json"
	"strings"
)

// typeOf gives the string at a dotted path of a JSON object, as far as the object is there;
// of several fields of one name the last counts. An empty path is "type".
func typeOf(payload, path string) string {
	if path == "" {
		path = "type"
	}
	dec := json.NewDecoder(strings.NewReader(payload))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	typ, _ := typeIn(dec, strings.Split(path, "."))
	return typ
}

// typeIn reads an object from behind its opening brace; false: it is not whole.
func typeIn(dec *json.Decoder, path []string) (typ string, ok bool) {
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return typ, false
		}
		if name == path[0] {
			typ, ok = typeAt(dec, path[1:])
		} else {
			ok = skip(dec)
		}
		if !ok {
			return typ, false
		}
	}
	_, err := dec.Token()
	return typ, err == nil
}

// typeAt reads a value: with nothing left of the path, the type itself.
func typeAt(dec *json.Decoder, rest []string) (typ string, ok bool) {
	t, err := dec.Token()
	if err != nil {
		return "", false
	}
	switch t {
	case json.Delim('{'):
		if len(rest) > 0 {
			return typeIn(dec, rest)
		}
		return "", end(dec)
	case json.Delim('['):
		return "", end(dec)
	}
	if s, isString := t.(string); isString && len(rest) == 0 {
		return s, true
	}
	return "", true
}

// skip reads a value.
func skip(dec *json.Decoder) bool {
	t, err := dec.Token()
	if err != nil {
		return false
	}
	if t == json.Delim('{') || t == json.Delim('[') {
		return end(dec)
	}
	return true
}

// end reads to the end of the object or array that has been opened.
func end(dec *json.Decoder) bool {
	for depth := 1; depth > 0; {
		t, err := dec.Token()
		switch {
		case err != nil:
			return false
		case t == json.Delim('{'), t == json.Delim('['):
			depth++
		case t == json.Delim('}'), t == json.Delim(']'):
			depth--
		}
	}
	return true
}
