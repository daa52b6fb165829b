// Package hashfields writes the fields of a Redis hash into one string, so that what
// keeps, bounds and invalidates strings does the same for hashes.
package hashfields

import "encoding/binary"

// Append appends one field: the length of its name, its name, the same of its value.
func Append(dst []byte, name, value string) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(name))), name...)
	return append(binary.AppendUvarint(dst, uint64(len(value))), value...)
}

// Next takes the first field off what Append wrote. It gives false when there is none.
func Next(data string) (name, value, rest string, ok bool) {
	if name, rest, ok = text(data); !ok {
		return "", "", "", false
	}
	value, rest, ok = text(rest)
	return name, value, rest, ok
}

func text(data string) (s, rest string, ok bool) {
	var n uint64
	for i := 0; i < len(data) && i < binary.MaxVarintLen32; i++ {
		n |= uint64(data[i]&0x7f) << (7 * i)
		if data[i] < 0x80 {
			if data = data[i+1:]; n > uint64(len(data)) {
				return "", "", false
			}
			return data[:n], data[n:], true
		}
	}
	return "", "", false
}
