package redisconn

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/rueidis"
)

const (
	maxShards     = 64
	minShardBytes = 4 << 20
	// maxLocal bounds how long a value stays in memory whatever the server says:
	// a guard against a lost invalidation, such as a server bug.
	maxLocal = 10 * time.Minute
	// maxLocalAbsentCluster bounds it for an absent key on a Cluster: after its
	// slot has moved, a write on the new owner is not pushed by the old one.
	maxLocalAbsentCluster = 10 * time.Second
)

// memory is a table of values read through client-side caching, by key, in shards
// with a lock each. Its size is bounded; the SIEVE policy evicts: a hit costs one
// flag, and a scan of keys that are read once does not flush the others.
type memory struct {
	seed      maphash.Seed
	shards    []shard
	mask      uint64
	cluster   bool
	untracked store                 // owns what is kept without tracking; never dead
	current   atomic.Pointer[store] // the store that fills memory now; unused on a Cluster
	evicted   atomic.Uint64
	pushed    atomic.Uint64
	classes   []int // the sizes that the allocator rounds up to
}

type shard struct {
	mu       sync.RWMutex
	items    map[string]*Value
	flights  map[string]*flight
	watchers map[string][]*watcher
	newest   *Value // SIEVE's queue, newest first
	oldest   *Value
	hand     *Value
	bytes    int64
	limit    int64
	_        [64]byte // shards' locks in cache lines of their own
}

func newMemory(limit int64, cluster bool) *memory {
	n := 1
	for n < maxShards && limit/int64(n*2) >= minShardBytes {
		n *= 2
	}
	m := &memory{seed: maphash.MakeSeed(), shards: make([]shard, n), mask: uint64(n - 1), cluster: cluster, classes: sizeClasses()}
	m.untracked.mem = m
	for i := range m.shards {
		s := &m.shards[i]
		s.items = make(map[string]*Value)
		s.flights = make(map[string]*flight)
		s.watchers = make(map[string][]*watcher)
		s.limit = limit / int64(n)
	}
	return m
}

func (m *memory) shard(key string) *shard { return &m.shards[maphash.String(m.seed, key)&m.mask] }

// get looks a key up without allocating, and notes that the value was of use.
func (m *memory) get(key []byte, now time.Time) *Value {
	v := m.find(key, now)
	if v != nil && !v.visited.Load() { // a plain store by every reader would bounce the cache line
		v.visited.Store(true)
	}
	return v
}

// find is get for who has just read the value from Redis: were that a visit, SIEVE
// could not tell what is read once from what is read again.
func (m *memory) find(key []byte, now time.Time) *Value {
	s := &m.shards[maphash.Bytes(m.seed, key)&m.mask]
	s.mu.RLock()
	v := s.items[string(key)]
	s.mu.RUnlock()
	if v == nil || v.owner.dead.Load() || now.UnixMilli() >= v.localUntil {
		return nil
	}
	return v
}

// flush forgets everything.
func (m *memory) flush() {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, v := range s.items {
			v.changed.Store(true)
		}
		clear(s.items)
		clear(s.flights)
		s.newest, s.oldest, s.hand, s.bytes = nil, nil, nil, 0
		for _, ws := range s.watchers {
			notify(ws)
		}
		s.mu.Unlock()
	}
}

// put adds a value and evicts until the shard fits its share again.
func (m *memory) put(v *Value) {
	v.cost = m.allocated(len(v.key)) + m.allocated(len(v.data)) + valueOverhead
	s := m.shard(v.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.items[v.key]; old != nil {
		s.remove(old)
		old.changed.Store(true)
	}
	if v.cost > s.limit/2 {
		v.changed.Store(true)
		return // it would push out half of what others use
	}
	m.shrink(s, v.cost)
	s.items[v.key] = v
	s.bytes += v.cost
	v.older = s.newest
	if s.newest != nil {
		s.newest.newer = v
	}
	s.newest = v
	if s.oldest == nil {
		s.oldest = v
	}
}

// shrink evicts from a locked shard until there is room.
func (m *memory) shrink(s *shard, room int64) {
	for s.bytes+room > s.limit {
		s.evict()
		m.evicted.Add(1)
	}
}

// charge counts the decoded form of a value while that is in memory. Two requests
// may decode one value at once: the last that is charged is what counts.
func (m *memory) charge(v *Value, size int) {
	s := m.shard(v.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items[v.key] != v {
		return
	}
	grown := int64(size) - v.charged
	v.charged += grown
	v.cost += grown
	s.bytes += grown
	m.shrink(s, 0)
}

// valueOverhead is what a value costs beside its key and data: the struct and its
// place in the map, which is on average two thirds full.
const valueOverhead = int64(unsafe.Sizeof(Value{})) + 48

// sizeClasses asks the allocator what it rounds small sizes up to: up to an eighth
// more, which for memory full of values of one size would be an eighth over the limit.
func sizeClasses() []int {
	var classes []int
	for n := 0; n < maxSmall; {
		n = cap(append([]byte(nil), make([]byte, n+1)...))
		classes = append(classes, n)
	}
	return classes
}

// From maxSmall on the allocator gives whole pages.
const (
	maxSmall = 32 << 10
	page     = 8 << 10
)

// allocated gives what n bytes take in memory.
func (m *memory) allocated(n int) int64 {
	if i, _ := slices.BinarySearch(m.classes, n); i < len(m.classes) && n > 0 {
		return int64(m.classes[i])
	}
	return int64(n+page-1) / page * page
}

func (s *shard) remove(v *Value) {
	delete(s.items, v.key)
	s.bytes -= v.cost
	if s.hand == v {
		s.hand = v.newer
	}
	if v.newer != nil {
		v.newer.older = v.older
	} else {
		s.newest = v.older
	}
	if v.older != nil {
		v.older.newer = v.newer
	} else {
		s.oldest = v.newer
	}
	v.newer, v.older = nil, nil
}

// evict moves SIEVE's hand from old to new, past values that were read since it
// last came by, and removes the first that was not.
func (s *shard) evict() {
	v := s.hand
	if v == nil {
		v = s.oldest
	}
	for v.visited.Load() {
		v.visited.Store(false)
		if v = v.newer; v == nil {
			v = s.oldest
		}
	}
	s.hand = v.newer
	s.remove(v)
	v.changed.Store(true)
}

// drop forgets one key: its value, the flight that may carry an older value (who
// comes from now on must start another), and tells those who watch it.
func (m *memory) drop(key string) {
	s := m.shard(key)
	s.mu.Lock()
	if v := s.items[key]; v != nil {
		s.remove(v)
		v.changed.Store(true)
	}
	delete(s.flights, key)
	notify(s.watchers[key])
	s.mu.Unlock()
}

// store is what rueidis fills: one for each connection. Lookups do not go through
// it: Conn.Peek reads memory itself, and Conn's flights coalesce misses.
type store struct {
	mem  *memory
	dead atomic.Bool // the connection has ended: what it brought may be stale
}

var _ rueidis.CacheStore = (*store)(nil)

func (m *memory) newStore(rueidis.CacheStoreOption) rueidis.CacheStore { return &store{mem: m} }

// Flight always says "ask Redis".
func (*store) Flight(string, string, time.Duration, time.Time) (rueidis.RedisMessage, rueidis.CacheEntry) {
	return rueidis.RedisMessage{}, nil
}

// Update runs on the goroutine that reads the connection, as Delete does, so that
// a value and its invalidation are applied in the server's order.
func (st *store) Update(key, cmd string, val rueidis.RedisMessage) int64 {
	pxat := val.CachePXAT()
	if st.dead.Load() {
		return max(pxat, 0)
	}
	// Blocking connections make stores too, but never fill memory. Off a Cluster
	// one connection fills it at a time: the first value of a new one ends the old.
	if !st.mem.cluster {
		if old := st.mem.current.Load(); old != st {
			if old != nil {
				old.dead.Store(true)
			}
			st.mem.current.Store(st)
		}
	}
	if cmd == "GET" || cmd == "HGETALL" {
		if v := st.mem.newValue(st, key, val, pxat); v != nil {
			st.mem.put(v)
		}
	}
	return max(pxat, 0)
}

// newValue gives nil for what must not stay in memory: errors, and absent keys
// that nobody asked to remember.
func (m *memory) newValue(owner *store, key string, val rueidis.RedisMessage, pxat int64) *Value {
	local := time.Now().Add(maxLocal).UnixMilli()
	v := &Value{key: key, owner: owner, localUntil: local}
	if val.IsNil() {
		s := m.shard(key)
		s.mu.RLock()
		f := s.flights[key]
		s.mu.RUnlock()
		if f == nil || f.mode != RememberAbsent {
			return nil
		}
		if m.cluster {
			v.localUntil = time.Now().Add(maxLocalAbsentCluster).UnixMilli()
		}
		return v
	}
	var err error
	if v.data, v.exists, err = content(val); err != nil || !v.exists {
		return nil
	}
	if pxat > 0 {
		v.expireAt = pxat
		v.localUntil = min(pxat, local)
	}
	return v
}

// Cancel has nothing to do: flights are Conn's own.
func (*store) Cancel(string, string, error) {}

// Delete applies an invalidation push. No keys means all (FLUSHALL, or the
// server's tracking table was reset).
func (st *store) Delete(keys []rueidis.RedisMessage) {
	if keys == nil {
		st.mem.pushed.Add(1)
		st.mem.flush()
		return
	}
	st.mem.pushed.Add(uint64(len(keys)))
	for i := range keys {
		if key, err := keys[i].ToString(); err == nil {
			st.mem.drop(key)
		}
	}
}

// Close ends trust in everything this connection brought.
func (st *store) Close(error) {
	if st.dead.Swap(true) {
		return
	}
	if st.mem.cluster || st.mem.current.Load() == st {
		st.mem.dropOwned(st)
	}
}

// dropOwned frees what a dead store still holds and wakes every watcher, since
// pushes may have been missed.
func (m *memory) dropOwned(st *store) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, v := range s.items {
			if v.owner == st {
				s.remove(v)
			}
		}
		clear(s.flights)
		for _, ws := range s.watchers {
			notify(ws)
		}
		s.mu.Unlock()
	}
}
