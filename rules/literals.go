package rules

import (
	"encoding/binary"
	"math/bits"
)

// literals maps a segment to the node behind it. It is a hash table with open
// addressing: a lookup costs the same with three entries as with a thousand, and
// about a third of what a Go map takes. Only the configuration adds keys, so no
// client can make them collide.
type literals struct {
	slots []literal // a power of two, at most half full; nil while there is no entry
	used  int
}

type literal struct {
	text string
	node *node // nil: the slot is free
}

func (l *literals) get(seg []byte) *node {
	if len(l.slots) == 0 {
		return nil
	}
	mask := len(l.slots) - 1
	for i := int(hashSegment(seg)) & mask; ; i = (i + 1) & mask {
		s := &l.slots[i]
		if s.node == nil || s.text == string(seg) {
			return s.node
		}
	}
}

// put adds a segment that is not there yet.
func (l *literals) put(text string, n *node) {
	if l.used++; l.used*2 > len(l.slots) {
		old := l.slots
		l.slots = make([]literal, max(4, 2*len(old)))
		for _, s := range old {
			if s.node != nil {
				l.place(s)
			}
		}
	}
	l.place(literal{text, n})
}

func (l *literals) place(s literal) {
	mask := len(l.slots) - 1
	i := int(hashSegment([]byte(s.text))) & mask
	for l.slots[i].node != nil {
		i = (i + 1) & mask
	}
	l.slots[i] = s
}

// hashSegment reads eight bytes at a time; the last eight may overlap those before.
func hashSegment(b []byte) uint64 {
	h := uint64(len(b))
	for len(b) > 8 {
		h = mix(h ^ binary.LittleEndian.Uint64(b))
		if len(b) < 16 {
			b = b[len(b)-8:]
			break
		}
		b = b[8:]
	}
	switch {
	case len(b) == 8:
		h ^= binary.LittleEndian.Uint64(b)
	case len(b) >= 4:
		h ^= uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[len(b)-4:]))<<32
	case len(b) > 0:
		h ^= uint64(b[0]) | uint64(b[len(b)/2])<<8 | uint64(b[len(b)-1])<<16
	}
	return mix(h)
}

func mix(h uint64) uint64 {
	hi, lo := bits.Mul64(h^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}
