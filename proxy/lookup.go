package proxy

import (
	"bytes"
	"context"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
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
	// What memory has goes before a key's being known as uncacheable. Else a pod that has
	// not heard of a purge yet could answer with what is new, and then with what is old.
	solo := x.h.passes.has(x.hash, x.now)
	if solo && x.h.store.Peek(x.redisKey, x.now) == nil {
		return x.goAlone()
	}
	s, use, fwd := x.find()
	if solo && (s == nil || !use.Served()) {
		return x.goAlone()
	}
	if s == nil {
		if x.servePart() {
			return true
		}
		x.fwd = fwd
		return x.refuseOnlyIfCached()
	}
	if !use.Served() {
		x.stale, x.fwd = s, cache.FwdStale
		if use == cache.UseValidate && s.entry.Flags&cache.FlagValidate == 0 || x.directives.NoCache {
			x.fwd = cache.FwdRequest
		}
		return x.refuseOnlyIfCached()
	}
	x.outcome = outcomeHit
	x.serve(s, cache.Status{Hit: true, TTL: s.entry.TTL(x.now), HasTTL: true})
	if use == cache.UseAndRefresh {
		x.refresh(s)
	}
	return true
}

// goAlone has the request forwarded without waiting for others.
func (x *exchange) goAlone() bool {
	x.fwd, x.solo, x.index = cache.FwdMiss, true, nil
	return x.refuseOnlyIfCached()
}

// bypass says why a request has no part in the cache; empty when it has.
func (x *exchange) bypass() cache.Fwd {
	if !x.isGet() && !x.isHead() {
		return cache.FwdMethod
	}
	if x.route.cache.Mode == cache.ModeOff || x.upgrade || x.size != 0 {
		return cache.FwdBypass
	}
	if x.route.bypass != nil && x.route.bypass.Matches(x.header(), x.query) {
		return cache.FwdBypass
	}
	return x.readDirectives()
}

// readDirectives looks at what the request says about caching. It gives the reason to
// have no part in it; empty when there is none.
func (x *exchange) readDirectives() cache.Fwd {
	x.fields = x.fields[:0]
	for i := range x.lines {
		switch x.lines[i].kind {
		case kindCacheControl, kindPragma:
			x.fields = append(x.fields, cache.Field{Name: x.lines[i].name, Value: x.lines[i].value})
		case kindAuthorization:
			x.authorized = true
		case kindRange:
			x.ranged = true
		case kindPrecondition:
			return cache.FwdBypass // the origin's to evaluate
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
	if x.varyText, ok = x.appendExtra(x.varyText[:0], x.route); !ok {
		return false
	}
	p.Extra = x.varyText
	if x.snap.noVarySearch && x.hasQuery {
		x.search = x.searchVariance(&p)
		p.Search = x.search
	}
	if x.keyText, ok = cache.AppendKey(x.keyText[:0], &p); !ok {
		return false
	}
	x.hash = cache.HashKey(x.keyText)
	x.redisKey = cache.AppendKeyName(x.redisKey[:0], x.h.prefix, x.hash)
	return true
}

// appendExtra appends what a route's key has beside scope, host, path and query.
func (x *exchange) appendExtra(dst []byte, r *route) (_ []byte, ok bool) {
	key := &r.cache.Key
	for _, name := range key.Headers {
		joined, present := x.appendField(nil, []byte(name), r.requestEdit)
		if dst, ok = cache.AppendExtra(dst, 'h', name, joined, present); !ok {
			return dst, false
		}
	}
	for _, name := range key.Cookies {
		value, present := x.cookie(name)
		if dst, ok = cache.AppendExtra(dst, 'c', name, value, present); !ok {
			return dst, false
		}
	}
	for _, name := range key.Session {
		value, present := x.sessionField(name)
		if dst, ok = cache.AppendExtra(dst, 's', name, value, present); !ok {
			return dst, false
		}
	}
	return dst, true
}

// cookie gives the first cookie of a name, as it was sent (RFC 6265 §5.4).
func (x *exchange) cookie(name string) ([]byte, bool) {
	for i := range x.lines {
		if x.lines[i].kind != kindPass || !syntax.FoldEqual(x.lines[i].name, "cookie") {
			continue
		}
		for rest := x.lines[i].value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			if k, v, ok := bytes.Cut(syntax.TrimOWS(pair), []byte{'='}); ok && string(k) == name {
				return v, true
			}
		}
	}
	return nil, false
}

// header gives all fields of the request, until the next call of its like.
func (x *exchange) header() cache.Header {
	x.fields = x.fields[:0]
	for i := range x.lines {
		x.fields = append(x.fields, cache.Field{Name: x.lines[i].name, Value: x.lines[i].value})
	}
	return x.fields
}

// find gives an entry that this request may have and what it may do with it, or why
// there is none.
func (x *exchange) find() (*stored, cache.Use, cache.Fwd) {
	s := x.load(x.redisKey)
	if s == nil || !bytes.Equal(s.entry.Key, x.keyText) { // two keys with one hash
		return nil, 0, cache.FwdURIMiss
	}
	if s.index {
		var fwd cache.Fwd
		if s, fwd = x.findVariant(s); s == nil {
			return nil, 0, fwd
		}
	}
	if !x.allowed(s) {
		return nil, 0, cache.FwdRequest
	}
	softAt, ok := x.marksHold(s)
	if !ok {
		return nil, 0, cache.FwdMiss
	}
	if softAt > 0 {
		s = s.softened(softAt)
	}
	return s, s.entry.Use(x.now, &x.directives), ""
}

// findVariant follows an index to the variant that this request selects.
func (x *exchange) findVariant(index *stored) (*stored, cache.Fwd) {
	if !x.setVariant(index.names, index.generation) {
		x.keyed = false
		return nil, cache.FwdBypass
	}
	x.index = index
	if s := x.loadVariant(); s != nil {
		return s, ""
	}
	if x.preferLanguage(index) {
		s := x.loadVariant()
		x.setVariant(index.names, index.generation) // what is fetched is stored under the request's own
		if s != nil {
			return s, ""
		}
	}
	return nil, cache.FwdVary
}

// loadVariant reads the entry of x.varyText.
func (x *exchange) loadVariant() *stored {
	s := x.load(x.varyName)
	if s == nil || s.index || !bytes.Equal(s.entry.Key, x.varyText) {
		return nil
	}
	return s
}

// preferLanguage turns the variant's key into that of the variant in the one language
// that the request prefers: whatever else it accepts, that one suits it.
func (x *exchange) preferLanguage(index *stored) bool {
	accepted := false
	for _, name := range index.names {
		accepted = accepted || string(name) == "accept-language"
	}
	if !accepted {
		return false
	}
	joined, ok := x.appendJoined(nil, []byte("accept-language"))
	if !ok {
		return false
	}
	language, ok := cache.PreferredLanguage(nil, joined)
	return ok && x.setVariantFor(index.names, index.generation, language)
}

// setVariant builds the full key of the variant that this request selects, and its
// Redis key.
func (x *exchange) setVariant(names [][]byte, generation uint64) bool {
	return x.setVariantFor(names, generation, nil)
}

// setVariantFor is setVariant with another Accept-Language, when one is given.
func (x *exchange) setVariantFor(names [][]byte, generation uint64, language []byte) bool {
	x.varyText = cache.AppendVariantKey(append(x.varyText[:0], x.keyText...), generation)
	var ok bool
	x.varyText, ok = cache.AppendVary(x.varyText, names, func(dst, name []byte) ([]byte, bool) {
		if language != nil && string(name) == "accept-language" {
			return append(dst, language...), true
		}
		return x.appendJoined(dst, name)
	})
	if !ok {
		return false
	}
	x.varyName = cache.AppendVariantName(x.varyName[:0], x.h.prefix, x.hash, cache.HashKey(x.varyText))
	return true
}

// appendJoined appends all values of a request field as one (RFC 9110 §5.3), as the
// application gets them.
func (x *exchange) appendJoined(dst, name []byte) ([]byte, bool) {
	return x.appendField(dst, name, x.route.requestEdit)
}

func (x *exchange) appendField(dst, name []byte, e *requestEdit) ([]byte, bool) {
	if e.touches(name) {
		return x.appendEdited(dst, name, e)
	}
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

// allowed says whether a request with Authorization may have the entry: only what
// the origin, or the rule, shares explicitly (RFC 9111 §3.5).
func (x *exchange) allowed(s *stored) bool {
	return !x.authorized || s.entry.Flags&cache.FlagShared != 0 ||
		x.scope != cache.ScopePublic || x.route.cache.Scope == cache.ScopePublic
}

// current says whether an entry that another request brought will do for this one:
// it may be used as it is, or it was fetched or validated after this one came.
func (x *exchange) current(s *stored) bool {
	softAt, ok := x.marksHold(s)
	return ok && x.allowed(s) && s.entry.Flags&cache.FlagValidate == 0 &&
		(softAt == 0 && s.entry.Use(x.now, &x.directives).Served() || s.entry.StoredAt >= x.began.UnixMilli())
}

// marksHold says whether none of the entry's tags was purged since its fill began,
// and when one was soft-purged; 0 when none was.
func (x *exchange) marksHold(s *stored) (softAt int64, ok bool) {
	for i := range s.marks {
		mark, err := x.h.store.Mark(context.Background(), s.marks[i], x.now)
		if err != nil {
			return 0, false
		}
		if mark == string(s.entry.Tags[i].Mark) {
			continue
		}
		hard, at := cache.SplitMark(mark)
		if was, _ := cache.SplitMark(string(s.entry.Tags[i].Mark)); hard != was || at == 0 {
			return 0, false
		}
		softAt = max(softAt, at)
	}
	return softAt, true
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
	return x.h.decode(v)
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
