package proxy

import (
	"bytes"
	"context"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// detailRedisDown is said in Cache-Status when Redis could not be asked.
const detailRedisDown = "redis-down"

// lookup answers the request from memory or Redis when it can. When it returns
// false, x.fwd says why the request goes to the application, and x.keyed whether
// the response may be stored.
func (x *exchange) lookup() bool {
	if x.fwd = x.bypass(); x.fwd != "" {
		return false
	}
	if !x.setKey() {
		x.fwd = cache.FwdBypass
		return false
	}
	x.keyed = true
	if x.directives.NoCache || x.h.passes.has(x.hash, x.now) {
		x.fwd = cache.FwdRequest
		if !x.directives.NoCache {
			x.fwd, x.solo = cache.FwdMiss, true
		}
		return x.refuseOnlyIfCached()
	}
	s, fwd := x.find()
	if s == nil {
		x.fwd = fwd
		return x.refuseOnlyIfCached()
	}
	x.outcome = outcomeHit
	ttl := s.entry.TTL(x.now)
	x.serve(s, cache.Status{Hit: true, TTL: ttl, HasTTL: true})
	return true
}

// bypass says why a request has no part in the cache; empty when it has.
func (x *exchange) bypass() cache.Fwd {
	if !x.isGet() && !x.isHead() {
		return cache.FwdMethod
	}
	if x.route.cache.Mode == cache.ModeOff || x.upgrade || x.chunked || x.ctx.Request.Header.ContentLength() > 0 {
		return cache.FwdBypass
	}
	x.fields = x.fields[:0]
	for i := range x.lines {
		switch x.lines[i].kind {
		case kindCacheControl, kindPragma:
			x.fields = append(x.fields, cache.Field{Name: x.lines[i].name, Value: x.lines[i].value})
		case kindAuthorization:
			x.authorized = true
		case kindRange:
			x.ranged = true
		}
	}
	if x.directives = cache.ParseRequest(x.fields); x.directives.NoStore {
		return cache.FwdRequest
	}
	return ""
}

// setKey builds the primary key. Who shares the entry is decided here: on a route
// with a session each user has entries of their own, unless the rule says that the
// response is public.
func (x *exchange) setKey() bool {
	p := cache.KeyParts{
		Scope: x.route.cache.Scope, Host: x.keyHost(), Path: x.path, Query: x.query, HasQuery: x.hasQuery,
		Filter: x.route.filter,
	}
	if p.Scope == "" && x.session != nil {
		p.Scope = cache.ScopeUser
	}
	if x.session == nil || p.Scope == "" {
		p.Scope = cache.ScopePublic // a visitor on an optional route, or a route without sessions
	}
	switch p.Scope {
	case cache.ScopeUser:
		x.scratch = append(x.scratch[:0], x.session.UserKey()...)
		p.Owner = x.scratch
	case cache.ScopeSession:
		x.scratch = append(x.scratch[:0], x.session.SessionKey()...)
		p.Owner = x.scratch
	}
	x.scope = p.Scope
	var ok bool
	if x.keyText, ok = cache.AppendKey(x.keyText[:0], &p); !ok {
		return false
	}
	x.hash = cache.HashKey(x.keyText)
	x.redisKey = cache.AppendKeyName(x.redisKey[:0], x.h.prefix, x.hash)
	return true
}

// find gives a usable entry, or why there is none.
func (x *exchange) find() (*stored, cache.Fwd) {
	s := x.load(x.redisKey)
	if s == nil {
		return nil, cache.FwdURIMiss
	}
	if !bytes.Equal(s.entry.Key, x.keyText) {
		return nil, cache.FwdURIMiss // two keys with one hash
	}
	if s.index {
		var fwd cache.Fwd
		if s, fwd = x.findVariant(s); s == nil {
			return nil, fwd
		}
	}
	return x.usable(s)
}

// findVariant follows an index to the variant that this request selects.
func (x *exchange) findVariant(index *stored) (*stored, cache.Fwd) {
	if !x.setVariant(index.names, index.generation) {
		x.keyed = false
		return nil, cache.FwdBypass
	}
	x.index = index
	s := x.load(x.varyName)
	if s == nil || s.index || !bytes.Equal(s.entry.Key, x.varyText) {
		return nil, cache.FwdVary
	}
	return s, ""
}

// setVariant builds the full key of the variant that this request selects, and its
// Redis key.
func (x *exchange) setVariant(names [][]byte, generation uint64) bool {
	x.varyText = cache.AppendVariantKey(append(x.varyText[:0], x.keyText...), generation)
	var ok bool
	x.varyText, ok = cache.AppendVary(x.varyText, names, func(dst, name []byte) ([]byte, bool) { return x.appendJoined(dst, name) })
	if !ok {
		return false
	}
	x.varyName = cache.AppendVariantName(x.varyName[:0], x.h.prefix, x.hash, cache.HashKey(x.varyText))
	return true
}

// appendJoined appends all values of a request field as one (RFC 9110 §5.3).
func (x *exchange) appendJoined(dst, name []byte) ([]byte, bool) {
	found := false
	for i := range x.lines {
		if len(x.lines[i].name) == len(name) && bytes.EqualFold(x.lines[i].name, name) {
			if found {
				dst = append(dst, ", "...)
			}
			dst, found = append(dst, x.lines[i].value...), true
		}
	}
	return dst, found
}

// usable says whether this request may have this entry, now.
func (x *exchange) usable(s *stored) (*stored, cache.Fwd) {
	if x.authorized && !s.shared && x.scope == cache.ScopePublic && x.route.cache.Scope != cache.ScopePublic {
		return nil, cache.FwdRequest
	}
	if !x.marksHold(s) {
		return nil, cache.FwdMiss
	}
	age, ttl := s.entry.Age(x.now), s.entry.TTL(x.now)
	if ttl <= 0 {
		return nil, cache.FwdStale
	}
	d := &x.directives
	if d.MaxAge.Set && age > d.MaxAge.Duration() || d.MinFresh.Set && ttl < d.MinFresh.Duration() {
		return nil, cache.FwdRequest
	}
	return s, ""
}

// marksHold says whether none of the entry's tags was purged since its fill began.
func (x *exchange) marksHold(s *stored) bool {
	for i := range s.marks {
		mark, err := x.h.store.Mark(context.Background(), s.marks[i], x.now)
		if err != nil || mark != string(s.entry.Tags[i].Mark) {
			return false
		}
	}
	return true
}

// load reads an entry: from memory, else from Redis. nil when there is none, or
// when it is not known.
func (x *exchange) load(key []byte) *stored {
	v := x.h.store.Peek(key, x.now)
	if v == nil {
		var err error
		if v, err = x.h.store.Get(context.Background(), key); err != nil {
			x.detail = detailRedisDown
			return nil
		}
	}
	if !v.Exists() {
		return nil
	}
	return decode(v, x.h.prefix)
}

// refuseOnlyIfCached answers 504 to a request that wants nothing but a stored
// response (RFC 9111 §5.2.1.7).
func (x *exchange) refuseOnlyIfCached() bool {
	if !x.directives.OnlyIfCached {
		return false
	}
	x.outcome = outcomeMiss
	x.problem(fasthttp.StatusGatewayTimeout, "There is no stored response, and the request allows no other.", "")
	return true
}

// protected says that the route asks for a session.
func (x *exchange) protected() bool { return x.route.session.Mode() != sessioncheck.ModeNone }
