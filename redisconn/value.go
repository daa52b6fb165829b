package redisconn

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Value is what Redis said about one key: its string, or that it is absent. It is
// immutable and safe for concurrent use; it stays valid after an invalidation.
//
// There is one for each stored response, so it is packed to a size that the allocator
// has: two strings as pointers with short lengths. Most values are the key and the data;
// what a Layout knows is laid out as lay says.
type Value struct {
	front, back       *byte // together what a hit reads, for the sake of cache lines
	frontLen, backLen uint32
	flags             flags
	tail              uint32 // how much of front stands behind back in a value that is cut
	owner             *store
	localUntil        int64 // Unix milliseconds
	decoded           atomic.Pointer[Decoded]
	expireAt          int64  // Unix milliseconds; 0: no expiry
	newer, older      *Value // under the shard's lock
}

// flags are bits of one word: each in a word of its own would be a size class more.
type flags struct{ word atomic.Uint32 }

const (
	flagVisited uint32 = 1 << iota // since SIEVE's hand came by
	flagChanged                    // see Unchanged
	flagKept                       // in memory: under the shard's lock
	flagExists                     // never changes, like the next
	flagLaid                       // front begins with the hash of the key
)

func (f *flags) is(flag uint32) bool { return f.word.Load()&flag != 0 }

func (f *flags) set(flag uint32) { f.word.Or(flag) }

func (f *flags) clear(flag uint32) { f.word.And(^flag) }

// hashSize is the length of a hash before the front of a value that is laid out.
const hashSize = 8

// maxData bounds a value, so that its lengths fit. Redis itself stops at 512 MiB.
const maxData = 1<<31 - 1

// newValue makes a value that nobody has seen yet.
func newValue(key, data string, exists bool) *Value {
	v := new(Value)
	if exists {
		v.flags.set(flagExists)
	}
	v.setFront(key)
	v.setBack(data)
	return v
}

func (v *Value) setFront(s string) { v.front, v.frontLen = unsafe.StringData(s), uint32(len(s)) }

func (v *Value) setBack(s string) { v.back, v.backLen = unsafe.StringData(s), uint32(len(s)) }

func (v *Value) frontText() string { return unsafe.String(v.front, v.frontLen) }

func (v *Value) backText() string { return unsafe.String(v.back, v.backLen) }

// isCut says that the back is the body alone.
func (v *Value) isCut() bool { return v.frontLen > hashSize && v.flags.is(flagLaid) }

// Decoded is a decoded form for SetDecoded and Share.
type Decoded struct {
	v    any
	size int64 // what it costs; 0 when it is shared
}

// NewDecoded makes one to be shared.
func NewDecoded(d any) *Decoded { return &Decoded{v: d} }

// Exists is false when the key is absent.
func (v *Value) Exists() bool { return v.flags.is(flagExists) }

// Key is the Redis key; empty when a Layout has laid the value out.
func (v *Value) Key() string {
	if v.flags.is(flagLaid) {
		return ""
	}
	return v.frontText()
}

// String gives the value without copying it, unless a Layout has cut it.
func (v *Value) String() string {
	if !v.isCut() {
		return v.backText()
	}
	rest := v.frontText()[hashSize:]
	body := len(rest) - int(v.tail)
	return rest[:body] + v.backText() + rest[body:]
}

// Parts gives the value without copying it, as a Layout has cut it: what is around its
// body, and the body; all, and nil, when it is in one piece. Neither may be modified.
func (v *Value) Parts() (rest, body []byte) {
	if !v.isCut() {
		return unsafe.Slice(v.back, v.backLen), nil
	}
	return unsafe.Slice(v.front, v.frontLen)[hashSize:], unsafe.Slice(v.back, v.backLen)
}

// ExpireAt is when the key expires in Redis; zero when it does not.
func (v *Value) ExpireAt() time.Time {
	if v.expireAt == 0 {
		return time.Time{}
	}
	return time.UnixMilli(v.expireAt)
}

// Decoded gives what SetDecoded attached, or nil.
func (v *Value) Decoded() any { return v.Shared().Form() }

// SetDecoded attaches a decoded form, which lives and dies with the value: a
// decoded copy beside it could outlive an invalidation. Of several calls, one wins.
// size is what d costs in bytes beside the value's own: it counts against the limit
// of memory.
func (v *Value) SetDecoded(d any, size int) {
	form := &Decoded{v: d, size: int64(size) + int64(unsafe.Sizeof(Decoded{}))}
	if v.owner == nil {
		v.decoded.Store(form)
		return
	}
	v.owner.mem.attach(v, form)
}

// Share attaches a form that many values have: it costs none of them anything. It gives
// way to one that was attached meanwhile, whatever it knows of was, and to one of
// SetDecoded.
func (v *Value) Share(was, d *Decoded) {
	if was == nil || was.size == 0 { // else what was is charged for
		v.decoded.CompareAndSwap(was, d)
	}
}

// Shared gives what Share attached, or a form of SetDecoded; nil for none.
func (v *Value) Shared() *Decoded { return v.decoded.Load() }

// Form gives what a Decoded holds; nil for none.
func (d *Decoded) Form() any {
	if d == nil {
		return nil
	}
	return d.v
}

// Unchanged says that the value was kept under tracking, and that nothing was heard of
// a change since, nor could have been missed other than by the loss of the connection:
// what memory evicted is not unchanged, since a push about it would find nothing to
// mark. It is for who must go on while Redis is down.
func (v *Value) Unchanged() bool {
	return v.owner != nil && v.owner != &v.owner.mem.untracked && !v.flags.is(flagChanged)
}
