package redisconn

import (
	"encoding/binary"
	"unsafe"
)

// table finds values by the hash of their key: open addressing with linear probing. A Go
// map takes 39 bytes for each value of a full memory, this 17: no key beside the value,
// and it grows by a quarter instead of to its double.
type table struct {
	tags   []uint32 // high half of the hash of what the slot holds
	slots  []*Value // nil: free
	filled int
}

const (
	minSlots = 16
	// tableOverhead is what a value takes in a table, on average: slots of 12 bytes,
	// of which between 64% and 80% are filled.
	tableOverhead = 17
)

// isFull says that one more would make searches long: 13 tags for what is absent.
func (t *table) isFull() bool { return t.filled >= len(t.slots)*4/5 }

// home is the slot at which the search for a tag begins.
func (t *table) home(tag uint32) int { return int(uint64(tag) * uint64(len(t.slots)) >> 32) }

func (t *table) next(i int) int {
	if i++; i < len(t.slots) {
		return i
	}
	return 0
}

func tagOf(hash uint64) uint32 { return uint32(hash >> 32) }

// name is what a value is found by. laid says that the value may be laid out.
type name struct {
	hash uint64
	key  string
	laid bool
}

// get gives a value of that name, or nil. It does not keep the name.
func (t *table) get(n name) *Value {
	if t.filled == 0 {
		return nil
	}
	tag := tagOf(n.hash)
	for i := t.home(tag); t.slots[i] != nil; i = t.next(i) {
		if t.tags[i] == tag && t.slots[i].isCalled(n) {
			return t.slots[i]
		}
	}
	return nil
}

// isCalled says whether the value is the key's: of one that is laid out, as far as the
// hash tells. Who reads that kind looks at the key inside.
func (v *Value) isCalled(n name) bool {
	if v.flags.is(flagLaid) {
		return n.laid && v.hash() == n.hash
	}
	return v.frontText() == n.key
}

// hash is that of the key of a value that is laid out.
func (v *Value) hash() uint64 {
	return binary.LittleEndian.Uint64(unsafe.Slice(v.front, hashSize))
}

// put adds a value; of its name there is none.
func (t *table) put(hash uint64, v *Value) {
	if t.isFull() {
		t.grow()
	}
	t.place(tagOf(hash), v)
	t.filled++
}

func (t *table) place(tag uint32, v *Value) {
	i := t.home(tag)
	for t.slots[i] != nil {
		i = t.next(i)
	}
	t.tags[i], t.slots[i] = tag, v
}

func (t *table) grow() {
	was := *t
	n := max(minSlots, len(was.slots)+len(was.slots)/4)
	t.tags, t.slots = make([]uint32, n), make([]*Value, n)
	for i, v := range was.slots {
		if v != nil {
			t.place(was.tags[i], v)
		}
	}
}

// remove takes out a value that is there. What stands behind it moves up, unless it would
// come before its home: a search ends at the first free slot.
func (t *table) remove(hash uint64, v *Value) {
	free := t.home(tagOf(hash))
	for t.slots[free] != v {
		free = t.next(free)
	}
	for i := t.next(free); t.slots[i] != nil; i = t.next(i) {
		if t.distance(t.home(t.tags[i]), i) >= t.distance(free, i) {
			t.tags[free], t.slots[free] = t.tags[i], t.slots[i]
			free = i
		}
	}
	t.slots[free] = nil
	t.filled--
}

// distance is how many steps lead from one slot to another.
func (t *table) distance(from, to int) int {
	if to < from {
		to += len(t.slots)
	}
	return to - from
}
