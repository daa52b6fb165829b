package sessioncheck

import (
	"context"
	"hash/maphash"
	"sync"
	"time"
)

const (
	graceShards = 16
	// maxGraceBytes bounds the sessions that are kept for an outage beyond what memory
	// holds of them anyway.
	maxGraceBytes = 32 << 20
	// seenEvery is how often a session in use is noted as valid: a store by every
	// request would bounce its cache line between the cores.
	seenEvery = int64(time.Second / time.Millisecond)
)

// grace keeps sessions that were valid, for when Redis gives no answer. What it holds
// is the session as it was decoded, with the value from Redis beside it: a push that
// the key has changed marks that value, so that a logout that was heard of counts here
// at once, though nobody looks.
//
// While Redis is up a request pays for one comparison; the lock is taken once for each
// session that is decoded, and for each that is found to be absent.
type grace struct {
	window int64 // milliseconds
	every  int64 // milliseconds between two notes about one session
	seed   maphash.Seed
	shards [graceShards]graceShard
}

type graceShard struct {
	mu    sync.Mutex
	byKey map[string]*Session
	bytes int
}

func newGrace(cfg *Config) *grace {
	if cfg.Grace <= 0 {
		return nil
	}
	g := &grace{window: cfg.Grace.Milliseconds(), seed: maphash.MakeSeed()}
	g.every = min(seenEvery, g.window/8)
	for i := range g.shards {
		g.shards[i].byKey = make(map[string]*Session)
	}
	return g
}

func (g *grace) shard(key []byte) *graceShard {
	return &g.shards[maphash.Bytes(g.seed, key)%graceShards]
}

// known is lookup for a request: where Redis gives no answer, what was known shortly
// before counts. Watches ask lookup itself, since nothing ends by not being known.
func (c *Checker) known(ctx context.Context, key []byte, now time.Time) (Result, bool) {
	r, fromMemory := c.lookup(ctx, key, now)
	if c.grace == nil {
		return r, fromMemory
	}
	switch r.Status {
	case Valid:
		c.grace.note(r.Session, now)
	case Absent:
		c.grace.forget(key)
	case Unknown:
		if s := c.grace.find(key, now); s != nil && s.schema == c.schema && !s.tooOld(now) {
			return Result{Status: Valid, Session: s, outage: true}, false
		}
	}
	return r, fromMemory
}

// note records that the session is valid now.
func (g *grace) note(s *Session, now time.Time) {
	if ms := now.UnixMilli(); ms-s.seen.Load() >= g.every {
		s.seen.Store(ms)
	}
	if s.kept.Load() || !s.value.Unchanged() || !s.kept.CompareAndSwap(false, true) {
		return
	}
	sh := g.shard([]byte(s.key))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.remove(s.key)
	sh.byKey[s.key] = s
	sh.bytes += s.graceCost()
	for key := range sh.byKey { // in no order: which go is chance
		if sh.bytes <= maxGraceBytes/graceShards {
			break
		}
		sh.remove(key)
	}
}

// find gives the session while its grace lasts. A look at the value comes last: from
// the moment on in which a change is heard, the session must not be given.
func (g *grace) find(key []byte, now time.Time) *Session {
	sh := g.shard(key)
	sh.mu.Lock()
	s := sh.byKey[string(key)]
	sh.mu.Unlock()
	ms := now.UnixMilli()
	if s == nil || ms-s.seen.Load() > g.window || s.expireAt != 0 && ms >= s.expireAt || !s.value.Unchanged() {
		return nil
	}
	return s
}

// forget: a session that was seen absent, malformed or too old has no grace.
func (g *grace) forget(key []byte) {
	sh := g.shard(key)
	sh.mu.Lock()
	sh.remove(string(key))
	sh.mu.Unlock()
}

func (sh *graceShard) remove(key string) {
	if s := sh.byKey[key]; s != nil {
		delete(sh.byKey, key)
		sh.bytes -= s.graceCost()
	}
}

// graceCost is constant for a session, since it is subtracted again.
func (s *Session) graceCost() int { return s.size() + len(s.raw) + 2*len(s.key) }
