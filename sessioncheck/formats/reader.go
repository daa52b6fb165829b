package formats

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// reader takes bytes off a text and counts what it finds, within the bounds.
type reader struct {
	data  string
	pos   int
	count int
}

func (r *reader) left() int { return len(r.data) - r.pos }

// take gives the next n bytes; false when there are fewer.
func (r *reader) take(n uint64) (string, bool) {
	if n > uint64(r.left()) {
		return "", false
	}
	s := r.data[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return s, true
}

func (r *reader) byte() (byte, bool) {
	s, ok := r.take(1)
	if !ok {
		return 0, false
	}
	return s[0], true
}

// element counts one more value; false when there are too many.
func (r *reader) element() bool {
	r.count++
	return r.count <= maxElements
}

// big and little read an unsigned number of n <= 8 bytes.
func (r *reader) big(n int) (v uint64, ok bool) {
	s, ok := r.take(uint64(n))
	for i := range len(s) {
		v = v<<8 | uint64(s[i])
	}
	return v, ok
}

func (r *reader) little(n int) (v uint64, ok bool) {
	s, ok := r.take(uint64(n))
	for i := range len(s) {
		v |= uint64(s[i]) << (8 * i)
	}
	return v, ok
}

// text gives a string, or Opaque for bytes that are no UTF-8: read as text, different
// ones could become equal.
func text(s string) any {
	if !utf8.ValidString(s) {
		return Opaque{}
	}
	return s
}

func integer(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }

func float(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Opaque{}
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
}
