package redisconn

import (
	"hash/maphash"
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
	// maxLocalAbsentCluster bounds it for an absent key on a Cluster: after its slot has
	// moved, a write on the new owner is not pushed by the old one. The heartbeat sees
	// that it has moved, and this is a guard against its not seeing it.
	maxLocalAbsentCluster = 10 * time.Second
)

// memory is a table of values read through client-side caching, by the hash of their
// keys, in shards with a lock each. No value is given for another's key: see isCalled. Its
// size is bounded; the SIEVE policy evicts: a hit costs one flag, and a scan of keys that
// are read once does not flush the others.
type memory struct {
	seed      maphash.Seed
	shards    []shard
	mask      uint64
	cluster   bool
	untracked store                 // owns what is kept without tracking; never dead
	current   atomic.Pointer[store] // the store that fills memory now; unused on a Cluster
	evicted   atomic.Uint64
	pushed    atomic.Uint64
	classes   []sizeClass
	layout    Layout
}

type shard struct {
	mu       sync.RWMutex
	items    [tablesPerShard]table
	flights  map[string]*flight
	watchers map[string][]*watcher
	newest   *Value // SIEVE's queue, newest first
	oldest   *Value
	hand     *Value
	bytes    int64
	limit    int64
	_        [64]byte // shards' locks in cache lines of their own
}

// tablesPerShard keeps short the time for which a shard is locked while a table grows: a
// sixteenth of what a table of the whole shard would take.
const tablesPerShard = 16

// table is where the shard has what is of the hash. The lowest bits have chosen the shard.
func (s *shard) table(hash uint64) *table { return &s.items[hash/maxShards%tablesPerShard] }

func (s *shard) filled() (n int) {
	for i := range s.items {
		n += s.items[i].filled
	}
	return n
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
		s.flights = make(map[string]*flight)
		s.watchers = make(map[string][]*watcher)
		s.limit = limit / int64(n)
	}
	return m
}

func (m *memory) hash(key string) uint64 { return maphash.String(m.seed, key) }

func (m *memory) name(key string) name {
	return name{hash: m.hash(key), key: key, laid: m.layout.knows(key)}
}

func (m *memory) shardOf(hash uint64) *shard { return &m.shards[hash&m.mask] }

func (m *memory) shard(key string) *shard { return m.shardOf(m.hash(key)) }

// get looks a key up without allocating, and notes that the value was of use.
func (m *memory) get(key []byte, now time.Time) *Value {
	v := m.find(key, now)
	if v != nil && !v.flags.is(flagVisited) { // a plain store by every reader would bounce the cache line
		v.flags.set(flagVisited)
	}
	return v
}

// find is get for who has just read the value from Redis: were that a visit, SIEVE
// could not tell what is read once from what is read again.
func (m *memory) find(key []byte, now time.Time) *Value {
	n := m.name(unsafe.String(unsafe.SliceData(key), len(key))) // a copy would be an allocation
	s := m.shardOf(n.hash)
	s.mu.RLock()
	v := s.table(n.hash).get(n)
	s.mu.RUnlock()
	if v == nil || v.owner.dead.Load() || now.UnixMilli() >= v.localUntil {
		return nil
	}
	return v
}

// hashOf is the hash of the value's key.
func (m *memory) hashOf(v *Value) uint64 {
	if v.flags.is(flagLaid) {
		return v.hash()
	}
	return m.hash(v.frontText())
}

// flush forgets everything.
func (m *memory) flush() {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for v := s.newest; v != nil; {
			older := v.older
			v.flags.set(flagChanged)
			v.flags.clear(flagKept)
			v.newer, v.older = nil, nil // else who has one would keep all in memory
			v = older
		}
		s.items = [tablesPerShard]table{}
		clear(s.flights)
		s.newest, s.oldest, s.hand, s.bytes = nil, nil, nil, 0
		for _, ws := range s.watchers {
			notify(ws)
		}
		s.mu.Unlock()
	}
}

// put adds a value, which nobody has seen yet, and evicts until the shard fits its share
// again.
func (m *memory) put(v *Value) {
	n := m.name(v.frontText())
	m.lay(v, n.hash)
	cost := m.cost(v)
	s := m.shardOf(n.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.forget(s, n)
	if cost > s.limit/2 {
		v.flags.set(flagChanged)
		return // it would push out half of what others use
	}
	m.shrink(s, cost)
	s.table(n.hash).put(n.hash, v)
	v.flags.set(flagKept)
	s.bytes += cost
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
		m.evict(s)
		m.evicted.Add(1)
	}
}

// attach gives a value its decoded form, and counts that while the value is in memory.
// Two requests may decode one value at once: the last that is attached is what counts.
func (m *memory) attach(v *Value, d *Decoded) {
	s := m.shardOf(m.hashOf(v))
	s.mu.Lock()
	defer s.mu.Unlock()
	grown := d.size
	if was := v.decoded.Swap(d); was != nil {
		grown -= was.size
	}
	if v.flags.is(flagKept) {
		s.bytes += grown
		m.shrink(s, 0)
	}
}

// cost is what a value takes in memory, with the decoded form that is charged to it.
func (m *memory) cost(v *Value) int64 {
	cost := m.allocated(int(v.frontLen)) + m.allocated(int(v.backLen)) + valueOverhead
	if d := v.decoded.Load(); d != nil {
		cost += d.size
	}
	return cost
}

// valueOverhead is what a value costs beside its key and data: the struct and its
// place in the table.
const valueOverhead = int64(unsafe.Sizeof(Value{})) + tableOverhead

// remove takes a value out of a locked shard.
func (m *memory) remove(s *shard, v *Value) {
	hash := m.hashOf(v)
	s.table(hash).remove(hash, v)
	v.flags.clear(flagKept)
	s.bytes -= m.cost(v)
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
func (m *memory) evict(s *shard) {
	v := s.hand
	if v == nil {
		v = s.oldest
	}
	for v.flags.is(flagVisited) {
		v.flags.clear(flagVisited)
		if v = v.newer; v == nil {
			v = s.oldest
		}
	}
	s.hand = v.newer
	m.remove(s, v)
	v.flags.set(flagChanged)
}

// forget takes out of a locked shard what it has under a name. That may be two values, of
// two keys with one hash, one of which is laid out: with one left, this change would be lost.
func (m *memory) forget(s *shard, n name) {
	for v := s.table(n.hash).get(n); v != nil; v = s.table(n.hash).get(n) {
		m.remove(s, v)
		v.flags.set(flagChanged)
	}
}

// drop forgets one key: its value, the flight that may carry an older value (who
// comes from now on must start another), and tells those who watch it.
func (m *memory) drop(key string) {
	n := m.name(key)
	s := m.shardOf(n.hash)
	s.mu.Lock()
	m.forget(s, n)
	delete(s.flights, key)
	notify(s.watchers[key])
	s.mu.Unlock()
}

// forgetKey drops a value that must not be kept, though nothing is known to have changed.
func (m *memory) forgetKey(key string) {
	n := m.name(key)
	s := m.shardOf(n.hash)
	s.mu.Lock()
	m.forget(s, n)
	s.mu.Unlock()
}

// forgetAbsent drops what is remembered of absent keys, and tells all that watch.
func (m *memory) forgetAbsent() {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for v := s.newest; v != nil; {
			older := v.older
			if !v.Exists() {
				m.remove(s, v)
				v.flags.set(flagChanged)
			}
			v = older
		}
		clear(s.flights) // they may carry an absence too
		for _, ws := range s.watchers {
			notify(ws)
		}
		s.mu.Unlock()
	}
}

// store is what rueidis fills: one for each connection. Lookups do not go through
// it: Conn.Peek reads memory itself, and Conn's flights coalesce misses.
type store struct {
	mem  *memory
	dead atomic.Bool // the connection has ended: what it brought may be stale

	mu    sync.Mutex // guards what follows
	reads map[read]int
}

// read is a tracked read that the connection has been asked for, on a Cluster.
type read struct{ key, cmd string }

var _ rueidis.CacheStore = (*store)(nil)

func (m *memory) newStore(rueidis.CacheStoreOption) rueidis.CacheStore { return &store{mem: m} }

// Flight always says "ask Redis". Of a Cluster it notes that this connection was asked.
func (st *store) Flight(key, cmd string, _ time.Duration, _ time.Time) (rueidis.RedisMessage, rueidis.CacheEntry) {
	if st.mem.cluster {
		st.mu.Lock()
		if st.reads == nil {
			st.reads = make(map[read]int)
		}
		st.reads[read{key, cmd}]++
		st.mu.Unlock()
	}
	return rueidis.RedisMessage{}, nil
}

// answered is false for a read that Flight does not know of. While a slot migrates, the
// client follows ASK to the new owner with ASKING between CLIENT CACHING and the read:
// Redis has forgotten by then that it was to track the key, and the client hands the
// value over like one that is tracked.
func (st *store) answered(key, cmd string) bool {
	if !st.mem.cluster {
		return true
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	r := read{key, cmd}
	n := st.reads[r]
	if n > 1 {
		st.reads[r] = n - 1
	} else {
		delete(st.reads, r)
	}
	return n > 0
}

// Update runs on the goroutine that reads the connection, as Delete does, so that
// a value and its invalidation are applied in the server's order.
func (st *store) Update(key, cmd string, val rueidis.RedisMessage) int64 {
	pxat := val.CachePXAT()
	known := st.answered(key, cmd)
	if st.dead.Load() {
		return max(pxat, 0)
	}
	if !known {
		// If this one has been taken for a tracked read of the same key, the tracked
		// one is the next that is not known: so what is there goes in either case.
		st.mem.forgetKey(key)
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
		if v := st.mem.kept(st, key, val, pxat); v != nil {
			st.mem.put(v)
		}
	}
	return max(pxat, 0)
}

// kept gives nil for what must not stay in memory: errors, and absent keys that nobody
// asked to remember.
func (m *memory) kept(owner *store, key string, val rueidis.RedisMessage, pxat int64) *Value {
	local := time.Now().Add(maxLocal).UnixMilli()
	if val.IsNil() {
		s := m.shard(key)
		s.mu.RLock()
		f := s.flights[key]
		s.mu.RUnlock()
		if f == nil || f.mode != RememberAbsent {
			return nil
		}
		if m.cluster {
			local = time.Now().Add(maxLocalAbsentCluster).UnixMilli()
		}
		v := newValue(key, "", false)
		v.owner, v.localUntil = owner, local
		return v
	}
	data, exists, err := content(val)
	if err != nil || !exists {
		return nil
	}
	v := newValue(key, data, true)
	v.owner, v.localUntil = owner, local
	if pxat > 0 {
		v.expireAt = pxat
		v.localUntil = min(pxat, local)
	}
	return v
}

// Cancel is told that a read has failed. Flights are Conn's own.
func (st *store) Cancel(key, cmd string, _ error) { st.answered(key, cmd) }

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
		for v := s.newest; v != nil; {
			older := v.older
			if v.owner == st {
				m.remove(s, v)
			}
			v = older
		}
		clear(s.flights)
		for _, ws := range s.watchers {
			notify(ws)
		}
		s.mu.Unlock()
	}
}
