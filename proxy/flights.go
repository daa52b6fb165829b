package proxy

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pillion-proxy/pillion/cache"
)

// flight is one fill that others wait for. live may be read once ready is closed,
// result once done is closed; it is nil when the response cannot be shared.
type flight struct {
	ready   chan struct{}
	live    *live
	done    chan struct{}
	result  *stored
	failure cache.Failure // how the application failed, when it did
}

// flights are the fills under way in this process, by Redis key. Their number is
// bounded by that of the requests being handled.
type flights struct {
	seed   maphash.Seed
	shards [32]struct {
		mu sync.Mutex
		m  map[string]*flight
	}
}

func (f *flights) init() {
	f.seed = maphash.MakeSeed()
	for i := range f.shards {
		f.shards[i].m = make(map[string]*flight)
	}
}

// join gives the flight of a key; lead says that it is new and the caller's to end.
func (f *flights) join(key string) (fl *flight, lead bool) {
	s := &f.shards[maphash.String(f.seed, key)%uint64(len(f.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if fl = s.m[key]; fl != nil {
		return fl, false
	}
	fl = &flight{ready: make(chan struct{}), done: make(chan struct{})}
	s.m[key] = fl
	return fl, true
}

// end removes the flight, then lets those who wait go on: who comes after them
// looks in Redis again.
func (f *flights) end(key string, fl *flight, result *stored) {
	s := &f.shards[maphash.String(f.seed, key)%uint64(len(f.shards))]
	s.mu.Lock()
	if s.m[key] == fl { // it may have been forgotten, and another begun
		delete(s.m, key)
	}
	s.mu.Unlock()
	fl.result = result
	close(fl.done)
}

// forget lets nobody join the flight of a key any more, since its key was purged: who
// asks after a purge was answered must not be given what a fill from before it brought.
// That fill may have stored its response just before the purge and not have ended its
// flight yet, or may have begun while Redis was down, without a lease to lose.
func (f *flights) forget(key string) {
	s := &f.shards[maphash.String(f.seed, key)%uint64(len(f.shards))]
	s.mu.Lock()
	delete(s.m, key)
	s.mu.Unlock()
}

// forgetAll is forget for every key.
func (f *flights) forgetAll() {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		clear(s.m)
		s.mu.Unlock()
	}
}

// passFor is how long a key counts as uncacheable after a response that was.
const passFor = 10 * time.Second

// passList remembers keys whose responses were not storable twice in a row
// ("hit-for-miss"): requests for them neither wait for each other nor ask Redis. It
// has a fixed size; keys that share a place replace each other, which costs a
// little coalescing and nothing else.
type passList struct {
	slots [8192]atomic.Uint64 // 32 bits of hash, 31 of Unix seconds, 1 of "twice"
}

func (p *passList) slot(h cache.Hash) (*atomic.Uint64, uint64) {
	n := uint64(h[0]) | uint64(h[1])<<8
	tag := uint64(h[2]) | uint64(h[3])<<8 | uint64(h[4])<<16 | uint64(h[5])<<24
	return &p.slots[n%uint64(len(p.slots))], tag << 32
}

// has says whether the key is known to be uncacheable.
func (p *passList) has(h cache.Hash, now time.Time) bool {
	s, tag := p.slot(h)
	v := s.Load()
	return v&1 == 1 && v>>32 == tag>>32 && now.Unix() < int64(v>>1&(1<<31-1))
}

// add notes an uncacheable response.
func (p *passList) add(h cache.Hash, now time.Time) {
	s, tag := p.slot(h)
	twice := uint64(0)
	if v := s.Load(); v>>32 == tag>>32 && now.Unix() < int64(v>>1&(1<<31-1)) {
		twice = 1
	}
	s.Store(tag | uint64(now.Add(passFor).Unix())&(1<<31-1)<<1 | twice)
}

// remove notes that the key has a storable response.
func (p *passList) remove(h cache.Hash) {
	s, tag := p.slot(h)
	if v := s.Load(); v>>32 == tag>>32 {
		s.CompareAndSwap(v, 0)
	}
}
