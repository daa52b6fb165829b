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
	for i, t := range cache.AppendTargets(nil, own, x.host, x.fields) {
		if i == 0 && !withOwn {
			continue
		}
		if !x.invalidateTarget(ctx, t) {
			x.detail = detailRedisDown
		}
	}
}

// invalidateTarget removes the public entry of a target and those of this request's
// own user and session.
func (x *exchange) invalidateTarget(ctx context.Context, t cache.Target) bool {
	path, odd, r := canonicalPath(nil, t.Path)
	if r != nil {
		return true // no such request passes the guard
	}
	query, r := canonicalQuery(nil, t.Query)
	if r != nil {
		return true
	}
	parts := cache.KeyParts{Scope: cache.ScopePublic, Host: x.keyHost(), Path: path, Query: query, HasQuery: t.HasQuery}
	get := x.snap.routeOfGet(&parts)
	if get.permits(odd) != nil {
		return true // nor one of this
	}
	parts.Filter = get.filter
	// Of a key with more than the URL, what this client's own requests are stored under.
	extra, ok := x.appendExtra(nil, get)
	if !ok {
		return true
	}
	parts.Extra = extra
	if x.snap.noVarySearch && t.HasQuery {
		parts.Search = x.searchVariance(&parts)
	}
	purge := func(scope cache.Scope, owner string) {
		parts.Scope, parts.Owner = scope, []byte(owner)
		_, err := x.h.purgeKey(ctx, &parts)
		ok = ok && err == nil
	}
	purge(cache.ScopePublic, "")
	if x.session != nil {
		purge(cache.ScopeUser, x.session.UserKey())
		purge(cache.ScopeSession, x.session.SessionKey())
	}
	return ok
}
