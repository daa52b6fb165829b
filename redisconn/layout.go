package redisconn

import (
	"encoding/binary"
	"strings"
)

// Layout knows values that say themselves which key they belong to, and of which most is
// a body.
//
// Of those, memory keeps a hash of the Redis key in the place of the key: whoever reads
// one must compare what it says with what was asked for, since two keys may have one
// hash. Key does not tell it, and Parts gives the value as it lies in memory.
type Layout struct {
	// Prefix is what their keys begin with: no value of theirs is given for another key.
	Prefix string
	// Cut says where the body is: data[from:to]. ok is false for what is no such value.
	Cut func(data []byte) (from, to int, ok bool)
}

// knows says whether the value of the key may be laid out.
func (l *Layout) knows(key string) bool { return l.Cut != nil && strings.HasPrefix(key, l.Prefix) }

// Option is for Open.
type Option func(*Conn)

// WithLayout saves memory for values of a kind.
func WithLayout(l Layout) Option { return func(c *Conn) { c.mem.layout = l } }

// worthCopying is the part of a value that a cut must save: what Redis sent is one piece,
// so that to cut is to copy, and what was copied leaves holes in the heap until others
// fill them.
const worthCopying = 16

// lay replaces the key of a value that says it itself by a hash, and cuts the value where
// that takes less memory. A size class wastes a part of a size, up to an eighth and the
// end of a span more, of which a head and a body apart often waste less than both as one:
// 1,024 bytes and what is around them, above all. Nobody may have seen the value yet.
func (m *memory) lay(v *Value, hash uint64) {
	if !v.Exists() || !m.layout.knows(v.frontText()) {
		return
	}
	whole := v.backText()
	data, _ := v.Parts()
	from, to, ok := m.layout.Cut(data)
	if !ok {
		return
	}
	front := hashSize
	apart := m.allocated(hashSize+len(whole)-(to-from)) + m.allocated(to-from)
	if saved := m.allocated(hashSize) + m.allocated(len(whole)) - apart; saved > int64(len(whole)/worthCopying) {
		front += len(whole) - (to - from)
		v.tail = uint32(len(whole) - to)
		v.setBack(strings.Clone(whole[from:to]))
	}
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, front), hash)
	if front > hashSize {
		b = append(append(b, whole[:from]...), whole[to:]...)
	}
	v.front, v.frontLen = &b[0], uint32(len(b))
	v.flags.set(flagLaid)
}
