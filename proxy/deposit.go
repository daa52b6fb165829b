package proxy

import (
	"bytes"
	"context"
	"time"

	"github.com/pillion-proxy/pillion/cache"
)

// deposit is a response on its way into the store. It keeps nothing of the exchange,
// which may be over before the body has come.
type deposit struct {
	h        *Handler
	entry    cache.Entry // its body comes last
	received time.Time
	lease    *cache.Lease

	key        string // where the entry goes
	primary    string // the primary key: where an index of variants goes
	primaryKey []byte // its text
	hash       cache.Hash
	names      [][]byte // of Vary; nil without one
	generation uint64
	// alias is the variant's key for who prefers its language, when it has one and
	// varies by it.
	alias    string
	aliasKey []byte
	// indexed says that an index with these names is there already; replaces, that
	// the lease is a variant's while the primary key is to be written.
	indexed, replaces bool
	replaced          uint64        // the generation of the index that it replaces
	retention         time.Duration // how long Redis keeps it
	maxTTL            time.Duration
	redisDown         bool
}

// deposit prepares one from the response's header in x.fields; nil when the request's
// fields make no key for the variant.
func (x *exchange) deposit(c *candidate, d *cache.Decision, status int) *deposit {
	dep := &deposit{
		h: x.h, received: c.received, lease: c.lease,
		key: string(x.redisKey), primary: string(x.redisKey), primaryKey: bytes.Clone(x.keyText), hash: x.hash,
		names: d.VaryNames, maxTTL: x.snap.maxTTL, replaces: x.index != nil, redisDown: x.detail == detailRedisDown,
	}
	if x.index != nil {
		dep.replaced = x.index.generation
	}
	kept := cache.AppendStoredExcept(nil, x.fields, d.Omit)
	dep.entry = cache.Entry{
		Kind: cache.KindResponse, Flags: d.Flags, Status: status,
		StoredAt: c.received.UnixMilli(), FillStart: c.requested.UnixMilli(),
		Lifetime: d.Jittered(x.route.cache.Jitter, random()), InitialAge: d.Age,
		StaleWhileRevalidate: d.StaleWhileRevalidate, StaleIfError: d.StaleIfError,
		Tags: c.tags, Header: cache.AppendHeader(nil, kept), Key: dep.primaryKey,
	}
	dep.retention = d.Retention(dep.entry.Lifetime, x.snap.keep)
	if len(dep.names) == 0 {
		return dep
	}
	dep.generation = random()
	if x.index != nil && sameNames(x.index.names, dep.names) {
		dep.indexed, dep.replaces, dep.generation = true, false, x.index.generation
	}
	if !x.setVariant(dep.names, dep.generation) {
		return nil
	}
	dep.entry.Flags |= cache.FlagVariant
	if language, ok := cache.ContentLanguage(nil, x.fields); ok && x.setVariantFor(dep.names, dep.generation, language) {
		dep.alias, dep.aliasKey = string(x.varyName), bytes.Clone(x.varyText)
	}
	x.setVariant(dep.names, dep.generation)
	dep.key, dep.entry.Key = string(x.varyName), bytes.Clone(x.varyText)
	return dep
}

// put writes the entry, and the index of its variants where that is new. It gives
// the entry in the form that answers requests. stored is false when a purge, another
// pod or Redis prevented it; detail says so.
func (dep *deposit) put() (s *stored, stored bool, detail string) {
	s = newStored(&dep.entry, dep.h.prefix)
	if s == nil {
		dep.h.giveBack(dep.lease)
		return nil, false, "unusable"
	}
	s.names, s.generation = dep.names, dep.generation
	data := cache.Encode(nil, &dep.entry)
	ttl := dep.retention
	if ttl <= 0 {
		dep.h.giveBack(dep.lease)
		return s, false, "" // of no use to anybody else
	}
	if len(dep.names) > 0 {
		ok, err := dep.h.store.AllowVariant(context.Background(), dep.primary, dep.key, dep.generation)
		if dep.redisDown = err != nil; dep.redisDown || !ok {
			dep.h.giveBack(dep.lease)
			detail = detailVariants
			if dep.redisDown {
				detail = detailRedisDown
			}
			return s, false, detail
		}
	}
	if len(dep.names) == 0 || dep.indexed {
		stored, detail = dep.write(dep.key, data, ttl)
		dep.putAlias(stored, data, ttl)
		return s, stored, detail
	}
	// The variant first: nothing leads to it until the index is there.
	if err := dep.h.store.PutVariant(context.Background(), dep.key, data, ttl); err != nil {
		dep.h.giveBack(dep.lease)
		dep.redisDown = true
		return s, false, detailRedisDown
	}
	index := cache.Encode(nil, cache.NewVaryIndex(dep.primaryKey, dep.names, dep.generation))
	stored, detail = dep.write(dep.primary, index, dep.maxTTL+cache.MaxStale)
	dep.putAlias(stored, data, ttl)
	return s, stored, detail
}

// detailVariants: the URL has as many variants as it may have.
const detailVariants = "variants"

// putAlias stores the variant under the name of its language too. Best effort: without
// it there are fewer hits.
func (dep *deposit) putAlias(stored bool, data []byte, ttl time.Duration) {
	if !stored || dep.alias == "" || dep.alias == dep.key {
		return
	}
	e := dep.entry
	e.Key = dep.aliasKey
	_ = dep.h.store.PutAlias(context.Background(), dep.key, dep.alias, data, cache.Encode(nil, &e), ttl)
}

// write stores under the lease.
func (dep *deposit) write(key string, data []byte, ttl time.Duration) (stored bool, detail string) {
	ctx := context.Background()
	if dep.replaces {
		dep.takePrimaryLease(ctx)
	}
	if dep.lease == nil {
		if dep.redisDown {
			return false, detailRedisDown
		}
		return false, "fill-elsewhere"
	}
	ok, err := dep.h.store.Put(ctx, dep.lease, key, data, ttl)
	if err != nil {
		dep.redisDown = true
		return false, detailRedisDown
	}
	return ok, ""
}

// takePrimaryLease changes the variant's lease for that of the primary key. It has
// neither afterwards when a purge, hard or soft, came since the fill began.
func (dep *deposit) takePrimaryLease(ctx context.Context) {
	if dep.lease == nil {
		return
	}
	held, err := dep.h.store.Holds(ctx, dep.lease)
	dep.h.giveBack(dep.lease)
	if dep.lease = nil; err != nil || !held {
		dep.redisDown = dep.redisDown || err != nil
		return
	}
	lease, err := dep.h.store.Begin(ctx, cache.LeaseName(dep.h.prefix, dep.hash))
	if lease == nil || err != nil {
		return
	}
	if !dep.indexStands(ctx) {
		dep.h.giveBack(lease)
		return
	}
	dep.lease = lease
}

// indexStands says whether the index that is to be replaced is still the one that the
// fill began with. The primary key's lease was taken only now, so a purge since the fill
// began took the index away and no lease: without it the old response would come back.
func (dep *deposit) indexStands(ctx context.Context) bool {
	v, err := dep.h.store.Get(ctx, []byte(dep.primary))
	if err != nil || !v.Exists() {
		return false
	}
	s := dep.h.decode(v)
	return s != nil && s.index && s.generation == dep.replaced
}

// shareable gives the entry to those who wait, when no purge can have come between:
// it was stored, or Redis is down and no purge was answered.
func (dep *deposit) shareable(s *stored, stored bool) *stored {
	if stored || dep.redisDown {
		return s
	}
	return nil
}

func sameNames(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// giveBack gives a lease back. Best effort: it expires by itself.
func (h *Handler) giveBack(l *cache.Lease) {
	if l != nil {
		_ = h.store.Release(context.Background(), l)
	}
}
