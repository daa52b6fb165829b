package redisconn

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Value is what Redis said about one key: its string, or that it is absent. It is
// immutable and safe for concurrent use; it stays valid after an invalidation.
type Value struct {
	key        string
	data       string
	expireAt   int64 // Unix milliseconds; 0: no expiry
	localUntil int64 // Unix milliseconds
	owner      *store
	cost       int64 // under the shard's lock, as charged, newer and older
	charged    int64 // of cost: the decoded form
	newer      *Value
	older      *Value
	decoded    atomic.Pointer[Decoded]
	visited    atomic.Bool
	changed    atomic.Bool // see Unchanged
	exists     bool
}

// Decoded is a decoded form for SetDecoded and Share.
type Decoded struct{ v any }

// NewDecoded makes one to be shared.
func NewDecoded(d any) *Decoded { return &Decoded{d} }

// Exists is false when the key is absent.
func (v *Value) Exists() bool { return v.exists }

// Key is the Redis key.
func (v *Value) Key() string { return v.key }

// String gives the value without copying it.
func (v *Value) String() string { return v.data }

// Bytes gives the value without copying it. It must not be modified.
func (v *Value) Bytes() []byte { return unsafe.Slice(unsafe.StringData(v.data), len(v.data)) }

// ExpireAt is when the key expires in Redis; zero when it does not.
func (v *Value) ExpireAt() time.Time {
	if v.expireAt == 0 {
		return time.Time{}
	}
	return time.UnixMilli(v.expireAt)
}

// Decoded gives what SetDecoded attached, or nil.
func (v *Value) Decoded() any {
	if b := v.decoded.Load(); b != nil {
		return b.v
	}
	return nil
}

// SetDecoded attaches a decoded form, which lives and dies with the value: a
// decoded copy beside it could outlive an invalidation. Of several calls, one wins.
// size is what d costs in bytes beside the value's own: it counts against the limit
// of memory.
func (v *Value) SetDecoded(d any, size int) {
	v.decoded.Store(&Decoded{d})
	if v.owner != nil {
		v.owner.mem.charge(v, size+int(unsafe.Sizeof(Decoded{})))
	}
}

// Share attaches a form that many values have: it costs none of them anything. It gives
// way to one that was attached meanwhile, whatever it knows of was.
func (v *Value) Share(was, d *Decoded) { v.decoded.CompareAndSwap(was, d) }

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
	return v.owner != nil && v.owner != &v.owner.mem.untracked && !v.changed.Load()
}
