package cache

import "bytes"

// AppendHeader appends the fields to dst as they stand in an HTTP/1.1 message:
// "Name: value" and CRLF for each, without the empty line at the end. Decide
// refuses fields that could break out of their line; should one come here
// regardless, it is left out.
func AppendHeader(dst []byte, h Header) []byte {
	for i := range h {
		if !isToken(h[i].Name) || !isFieldValue(h[i].Value) {
			continue
		}
		dst = append(append(dst, h[i].Name...), ": "...)
		dst = append(append(dst, h[i].Value...), "\r\n"...)
	}
	return dst
}

// ParseHeader appends the fields of a block that AppendHeader wrote to dst. They
// alias the block. It is false for a block that is malformed. It does not
// allocate when dst has room.
func ParseHeader(dst Header, block []byte) (Header, bool) {
	for len(block) > 0 {
		line, rest, ok := bytes.Cut(block, []byte("\r\n"))
		name, value, colon := bytes.Cut(line, []byte{':'})
		if !ok || !colon || !isToken(name) || !isFieldValue(value) {
			return dst, false
		}
		dst = append(dst, Field{Name: name, Value: trimSpace(value)})
		block = rest
	}
	return dst, true
}
