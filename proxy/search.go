package proxy

import (
	"bytes"
	"context"

	"github.com/pillion-proxy/pillion/cache"
)

// searchName builds the key, and its Redis name, of the entry that holds the
// No-Vary-Search of the request's path.
func (x *exchange) searchName(p *cache.KeyParts) (text []byte, name string, ok bool) {
	text, ok = cache.AppendSearchKey(nil, p)
	return text, cache.KeyName(x.h.prefix, cache.HashKey(text)), ok
}

// searchVariance gives what the path's responses said about the query; nil when they
// said nothing. That they did not is remembered too, so that it costs nothing to know.
func (x *exchange) searchVariance(p *cache.KeyParts) *cache.SearchVariance {
	text, name, ok := x.searchName(p)
	if !ok {
		return nil
	}
	v, err := x.h.store.Remember(context.Background(), name, x.now)
	if err != nil || !v.Exists() {
		return nil
	}
	s := x.h.decode(v)
	if s == nil || !bytes.Equal(s.entry.Key, text) {
		return nil
	}
	return s.search
}

// keepSearch notes what a response says about the query, when that is not what its path
// is known for. Later requests have their keys by it; this response stays where it is.
func (x *exchange) keepSearch(dep *deposit) {
	if !x.snap.noVarySearch || !x.hasQuery {
		return
	}
	said := cache.ParseNoVarySearch(x.fields)
	if said == nil && x.search == nil {
		return
	}
	parts := cache.KeyParts{Scope: x.scope, Owner: x.owner(), Host: x.keyHost(), Path: x.path, Filter: x.route.filter}
	text, name, ok := x.searchName(&parts)
	if !ok {
		return
	}
	if said == nil {
		_, _ = x.h.store.PurgeKey(context.Background(), name, name)
		return
	}
	index := cache.NewSearchIndex(text, x.fields)
	if known := x.searchVariance(&parts); known == nil || x.search == nil {
		_ = x.h.store.PutVariant(context.Background(), name, cache.Encode(nil, index), dep.maxTTL+cache.MaxStale)
	}
}

// owner is whose partition of the keys the request is in.
func (x *exchange) owner() []byte {
	switch x.scope {
	case cache.ScopeUser:
		return []byte(x.session.UserKey())
	case cache.ScopeSession:
		return []byte(x.session.SessionKey())
	}
	return nil
}
