package proxy

import (
	"context"

	"github.com/pillion-proxy/pillion/cache"
)

// invalidate removes what a successful unsafe request has made obsolete: the stored
// responses for its target, and for Location and Content-Location of the same origin
// (RFC 9111 §4.4), and the groups that the response names (RFC 9875 §3). It is done
// before the answer: whoever sees that sees no older state here.
func (x *exchange) invalidate() { x.invalidateAll(true) }

// invalidateOthers is invalidate without the request's own target.
func (x *exchange) invalidateOthers() { x.invalidateAll(false) }

func (x *exchange) invalidateAll(withOwn bool) {
	x.fields = x.fields[:0]
	for name, value := range x.ctx.Response.Header.All() {
		x.fields = append(x.fields, cache.Field{Name: name, Value: value})
	}
	x.invalidateBy(withOwn)
}

// invalidateBy is invalidate for a response whose status and fields are in x.
func (x *exchange) invalidateBy(withOwn bool) {
	method := string(x.method)
	ctx := context.Background()
	if groups, _ := cache.AppendInvalidatedGroups(nil, method, x.fields); len(groups) > 0 {
		for _, g := range groups {
			if x.h.store.PurgeTag(ctx, string(cache.AppendGroupTag(nil, x.host, g))) != nil {
				x.detail = detailRedisDown
			}
		}
	}
	if !cache.Invalidates(method, x.status) {
		return
	}
	own := cache.Target{Path: x.path, Query: x.query, HasQuery: x.hasQuery}
	var hashes, unread []cache.Hash
	for i, t := range cache.AppendTargets(nil, own, x.host, x.fields) {
		if i > 0 || withOwn {
			hashes, unread = x.appendObsolete(hashes, unread, t)
		}
	}
	if !x.h.purgeSoon(unread) {
		hashes = append(hashes, unread...)
	}
	if x.h.purgeHashes(ctx, hashes) != nil {
		x.detail = detailRedisDown
	}
}

// appendObsolete appends what the public entry of a target, and those of this request's
// own user and session, are stored under: to unread when no GET here would read them.
func (x *exchange) appendObsolete(dst, unread []cache.Hash, t cache.Target) (_, _ []cache.Hash) {
	path, odd, r := canonicalPath(nil, t.Path)
	if r != nil {
		return dst, unread // no such request passes the guard
	}
	query, r := canonicalQuery(nil, t.Query)
	if r != nil {
		return dst, unread
	}
	parts := cache.KeyParts{Scope: cache.ScopePublic, Host: x.keyHost(), Path: path, Query: query, HasQuery: t.HasQuery}
	get := x.snap.routeOfGet(&parts)
	if get.permits(odd) != nil {
		return dst, unread // nor one of this
	}
	if get.cache.Mode == cache.ModeOff && !x.snap.sometimesCached {
		return dst, x.appendKeysOf(unread, get, &parts, t)
	}
	return x.appendKeysOf(dst, get, &parts, t), unread
}

func (x *exchange) appendKeysOf(dst []cache.Hash, get *route, parts *cache.KeyParts, t cache.Target) []cache.Hash {
	parts.Filter = get.filter
	// Of a key with more than the URL, what this client's own requests are stored under.
	extra, ok := x.appendExtra(nil, get)
	if !ok {
		return dst
	}
	parts.Extra = extra
	if x.snap.noVarySearch && t.HasQuery {
		parts.Search = x.searchVariance(parts)
	}
	dst = appendHash(dst, parts)
	if x.session != nil {
		parts.Scope, parts.Owner = cache.ScopeUser, []byte(x.session.UserKey())
		dst = appendHash(dst, parts)
		parts.Scope, parts.Owner = cache.ScopeSession, []byte(x.session.SessionKey())
		dst = appendHash(dst, parts)
	}
	return dst
}

// appendHash appends the hash of a key; of parts that make none, nothing.
func appendHash(dst []cache.Hash, parts *cache.KeyParts) []cache.Hash {
	if text, ok := cache.AppendKey(nil, parts); ok {
		dst = append(dst, cache.HashKey(text))
	}
	return dst
}

// purgeHashes removes the entries of some keys, in one wait for Redis.
func (h *Handler) purgeHashes(ctx context.Context, hashes []cache.Hash) error {
	if len(hashes) == 0 {
		return nil
	}
	names, leases := make([]string, len(hashes)), make([]string, len(hashes))
	for i, hash := range hashes {
		names[i], leases[i] = cache.KeyName(h.prefix, hash), cache.LeaseName(h.prefix, hash)
	}
	err := h.store.PurgeKeys(ctx, names, leases)
	for _, name := range names {
		h.flights.forget(name)
	}
	return err
}
