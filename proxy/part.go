package proxy

import (
	"bytes"
	"context"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// maxRange bounds the Range of a request whose 206 is stored.
const maxRange = 64

// A part is a 206 that the application gave. It is stored as a variant by Range, under
// an index of its own beside the entry of the whole: it answers the same Range again,
// and is never served as the whole, nor taken apart or put together (RFC 9111 §3.3).

func partNames() [][]byte { return [][]byte{[]byte("range")} }

// wantsPart says whether a part may answer the request, or what the application gives
// be one: a GET with one Range and no other condition.
func (x *exchange) wantsPart() bool {
	if !x.ranged || !x.isGet() || x.stale != nil || x.solo {
		return false
	}
	n := 0
	for i := range x.lines {
		switch l := &x.lines[i]; {
		case l.kind == kindRange:
			if n++; n > 1 || len(l.value) > maxRange {
				return false
			}
		case l.kind == kindPass && conditional(l.name):
			return false
		}
	}
	return n == 1
}

// servePart answers from a stored part.
func (x *exchange) servePart() bool {
	if !x.wantsPart() {
		return false
	}
	index := x.load([]byte(cache.PartsKey(string(x.redisKey))))
	if index == nil || !index.index || !bytes.Equal(index.entry.Key, x.keyText) || !x.setVariant(partNames(), index.generation) {
		return false
	}
	s := x.loadVariant()
	if s == nil || !x.current(s) {
		return false
	}
	x.outcome = outcomeHit
	x.serve(s, cache.Status{Hit: true, TTL: s.entry.TTL(x.now), HasTTL: true})
	return true
}

// fillPart forwards a request with Range, and stores the 206 that comes back. It is
// false, with nothing done, when it cannot be stored whatever it is.
func (x *exchange) fillPart() bool {
	if !x.wantsPart() {
		return false
	}
	c := candidate{}
	var ok bool
	if c.tags, ok = x.tags(); !ok {
		return false
	}
	ctx, key := context.Background(), string(x.redisKey)
	var err error
	if c.lease, err = x.h.store.Begin(ctx, cache.PartsLease(key)); c.lease == nil || err != nil {
		return false
	}
	x.outcome = outcomeMiss
	c.requested = time.Now()
	if !x.forward(false) {
		x.h.giveBack(c.lease)
		return true
	}
	c.received = time.Now()
	status := cache.Status{Fwd: x.fwd, FwdStatus: x.status, Detail: x.detail}
	status.Stored = x.keepPart(&c, key)
	if !status.Stored {
		x.h.giveBack(c.lease)
	}
	x.addStatus(status)
	return true
}

// keepPart stores the response when it is a part that is here as a whole.
func (x *exchange) keepPart(c *candidate, key string) bool {
	resp := &x.ctx.Response
	if x.status != fasthttp.StatusPartialContent || resp.IsBodyStream() || x.poisonous() {
		return false
	}
	in := x.decisionInput(c)
	in.Part, in.BodyLen, in.Complete = true, int64(len(resp.Body())), true
	d := cache.Decide(in)
	if !d.Store || len(d.VaryNames) > 0 || !x.responseTags(c) {
		return false
	}
	dep := x.deposit(c, &d, x.status)
	generation := random()
	if index := x.load([]byte(cache.PartsKey(key))); index != nil && index.index && bytes.Equal(index.entry.Key, x.keyText) {
		generation = index.generation
	}
	if dep == nil || dep.retention <= 0 || !x.setVariant(partNames(), generation) {
		return false
	}
	dep.entry.Key, dep.entry.Body = bytes.Clone(x.varyText), bytes.Clone(resp.Body())
	dep.entry.Flags |= cache.FlagVariant
	ctx, variant := context.Background(), string(x.varyName)
	if ok, err := x.h.store.AllowVariant(ctx, key, variant, generation); err != nil || !ok {
		return false
	}
	// The index first, under the lease: a purge since the fill began has taken that away.
	index := cache.Encode(nil, cache.NewVaryIndex(bytes.Clone(x.keyText), partNames(), generation))
	if stored, err := x.h.store.Put(ctx, c.lease, cache.PartsKey(key), index, dep.maxTTL+cache.MaxStale); err != nil || !stored {
		return false
	}
	return x.h.store.PutVariant(ctx, variant, cache.Encode(nil, &dep.entry), dep.retention) == nil
}

// poisonous says whether the request, which was forwarded as it is, has a field that
// applications are known to reflect though no key has it.
func (x *exchange) poisonous() bool {
	for i := range x.lines {
		if (x.lines[i].kind == kindPass || x.lines[i].kind == kindPrefix) && x.scope == cache.ScopePublic && cache.Poisonous(x.lines[i].name) && !x.inKey(x.lines[i].name) {
			return true
		}
	}
	return false
}
