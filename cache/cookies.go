package cache

import (
	"bytes"
	"iter"
)

// Cookies gives the names and values of a Cookie field, in order (RFC 6265 §4.2). A
// value keeps its quotes.
func Cookies(field []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for more := true; more; {
			var pair []byte
			pair, field, more = bytes.Cut(field, []byte{';'})
			name, value, ok := bytes.Cut(pair, []byte{'='})
			if ok && !yield(trimSpace(name), trimSpace(value)) {
				return
			}
		}
	}
}

// parameters gives the names and values of a query, as they were sent.
func parameters(query []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for more := true; more; {
			var param []byte
			param, query, more = bytes.Cut(query, []byte{'&'})
			name, value, _ := bytes.Cut(param, []byte{'='})
			if len(param) > 0 && !yield(name, value) {
				return
			}
		}
	}
}

// decodedIs compares an encoded name with a plain one.
func decodedIs(encoded []byte, name string) bool { return string(decoded(encoded)) == name }

// decoded gives b itself where nothing in it is encoded.
func decoded(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '+') < 0 {
		return b
	}
	return appendDecoded(make([]byte, 0, len(b)), b)
}
