package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/rules"
)

// PurgeURL removes the public entry of one URL, with all its variants, from Redis
// and from the memory of every pod. host is what clients send as Host; target is
// path and query. found is false when Redis had none. A fill that is under way
// cannot store what it brings.
func (h *Handler) PurgeURL(ctx context.Context, host, target string) (found bool, err error) {
	hosts := []string{host}
	if name, port, err := net.SplitHostPort(host); err == nil && port != "" {
		if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
			hosts = append(hosts, name) // see keyHost
		}
	}
	for _, host := range hosts {
		ok, err := h.purgeOne(ctx, host, target)
		if err != nil {
			return found, err
		}
		found = found || ok
	}
	return found, nil
}

func (h *Handler) purgeOne(ctx context.Context, host, target string) (bool, error) {
	rawPath, rawQuery, hasQuery := bytes.Cut([]byte(target), []byte{'?'})
	path, odd, r := canonicalPath(nil, rawPath)
	if r != nil {
		return false, &refusalError{r}
	}
	query, r := canonicalQuery(nil, rawQuery)
	if r != nil {
		return false, &refusalError{r}
	}
	snap := h.snap.Load()
	parts := cache.KeyParts{Scope: cache.ScopePublic, Host: bytes.ToLower([]byte(host)), Path: path, Query: query, HasQuery: hasQuery}
	get := snap.routeOfGet(&parts)
	if r := get.permits(odd); r != nil {
		return false, &refusalError{r}
	}
	parts.Filter = get.filter
	// Where the rule's key has more than the URL, or the path's responses have a
	// No-Vary-Search, the URL has entries whose names cannot be built from it.
	key := &get.cache.Key
	scattered := len(key.Headers)+len(key.Cookies)+len(key.Session) > 0
	if scattered || snap.noVarySearch && hasQuery && h.hasSearch(ctx, &parts) {
		n, err := h.purgeScan(ctx, false, func(host, target []byte) bool { return sameTarget(host, target, &parts) })
		return n > 0, err
	}
	return h.purgeKey(ctx, &parts)
}

// routeOfGet is the rule that a GET would match, without regard to its header.
func (s *snapshot) routeOfGet(p *cache.KeyParts) *route {
	req := rules.Request{Method: []byte(fasthttp.MethodGet), Host: p.Host, Path: p.Path, RawQuery: p.Query}
	if i := s.table.Match(&req, nil); i >= 0 {
		return &s.routes[i]
	}
	return &s.unmatched
}

// purgeKey removes the entry of one key.
func (h *Handler) purgeKey(ctx context.Context, parts *cache.KeyParts) (bool, error) {
	text, ok := cache.AppendKey(nil, parts)
	if !ok {
		return false, nil
	}
	hash := cache.HashKey(text)
	name := cache.KeyName(h.prefix, hash)
	found, err := h.store.PurgeKey(ctx, name, cache.LeaseName(h.prefix, hash))
	h.flights.forget(name)
	return found, err
}

// purgeScan purges what matches. The fills under way, of whatever key, have lost their
// leases then, and nobody who comes later may join them.
func (h *Handler) purgeScan(ctx context.Context, soft bool, match func(host, target []byte) bool) (purged int, err error) {
	purged, err = h.store.PurgeMatching(ctx, soft, match)
	h.flights.forgetAll()
	return purged, err
}

// hasSearch says whether the path's responses have a No-Vary-Search, as far as is known.
func (h *Handler) hasSearch(ctx context.Context, parts *cache.KeyParts) bool {
	text, ok := cache.AppendSearchKey(nil, parts)
	if !ok {
		return false
	}
	v, err := h.store.Remember(ctx, cache.KeyName(h.prefix, cache.HashKey(text)), time.Now())
	return err != nil || v.Exists()
}

// sameTarget says whether an entry is for the path of the parts, whatever part of the
// query its key has.
func sameTarget(host, target []byte, parts *cache.KeyParts) bool {
	path := target
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		path = target[:i]
	}
	return bytes.Equal(host, parts.Host) && bytes.Equal(path, parts.Path)
}

// PurgeMatching purges the entries of every host and target that the pattern matches:
// every user's, and every variant. prefix compares the beginning, otherwise "*" in the
// pattern stands for any characters. A pattern that begins with "/" is about every
// host, another about host and target together: "shop.example/a*".
func (h *Handler) PurgeMatching(ctx context.Context, pattern string, prefix, soft bool) (purged int, err error) {
	anyHost := strings.HasPrefix(pattern, "/")
	if slash := strings.IndexByte(pattern, '/'); !anyHost && slash > 0 {
		pattern = strings.ToLower(pattern[:slash]) + pattern[slash:]
	}
	return h.purgeScan(ctx, soft, func(host, target []byte) bool {
		if !anyHost {
			target = append(bytes.Clone(host), target...)
		}
		if prefix {
			return bytes.HasPrefix(target, []byte(pattern))
		}
		return cache.MatchGlob(pattern, target)
	})
}

// PurgeExactly marks stale what is stored for one URL: every user's entry, and every
// variant. It goes through all of Redis.
func (h *Handler) PurgeExactly(ctx context.Context, host, target string) (purged int, err error) {
	rawPath, rawQuery, hasQuery := bytes.Cut([]byte(target), []byte{'?'})
	path, odd, r := canonicalPath(nil, rawPath)
	if r != nil {
		return 0, &refusalError{r}
	}
	query, r := canonicalQuery(nil, rawQuery)
	if r != nil {
		return 0, &refusalError{r}
	}
	parts := cache.KeyParts{Scope: cache.ScopePublic, Host: bytes.ToLower([]byte(host)), Path: path, Query: query, HasQuery: hasQuery}
	snap := h.snap.Load()
	get := snap.routeOfGet(&parts)
	if r := get.permits(odd); r != nil {
		return 0, &refusalError{r}
	}
	parts.Filter = get.filter
	key, ok := cache.AppendKey(nil, &parts)
	if !ok {
		return 0, nil
	}
	// As it stands in keys, where the rule may leave parameters out.
	_, want, _ := cache.TargetOf(key)
	every := snap.noVarySearch && hasQuery && h.hasSearch(ctx, &parts)
	name, _, _ := net.SplitHostPort(string(parts.Host))
	return h.purgeScan(ctx, true, func(host, t []byte) bool {
		if string(host) != string(parts.Host) && !(name != "" && string(host) == name && directHost(host)) {
			return false
		}
		return bytes.Equal(t, want) || every && sameTarget(parts.Host, t, &parts)
	})
}

// wantsPurge says whether the request is a PURGE that is meant for the cache: the
// networks that may purge are configured.
func (x *exchange) wantsPurge() bool {
	return len(x.snap.purgeFrom) > 0 && string(x.method) == "PURGE"
}

// purgeByMethod answers PURGE.
func (x *exchange) purgeByMethod() {
	x.outcome = outcomePurge
	client := x.clientAddr()
	allowed := false
	for _, p := range x.snap.purgeFrom {
		allowed = allowed || client.IsValid() && p.Contains(client)
	}
	if !allowed {
		x.problem(fasthttp.StatusForbidden, "This address may not purge.", "")
		return
	}
	found, err := x.h.PurgeURL(context.Background(), string(x.host), string(x.appendTarget(nil)))
	var refused *refusalError
	if errors.As(err, &refused) {
		x.refuse(refused.refusal)
		return
	}
	if err != nil {
		x.problem(fasthttp.StatusServiceUnavailable, "The purge is not done: Redis gave no answer.", "Retry-After: 1\r\n")
		return
	}
	x.status = fasthttp.StatusOK
	head := "HTTP/1.1 200 OK\r\nDate: " + httpDate(x.now) + "\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"
	x.readHead(head)
	x.ctx.Response.SetBodyString(fmt.Sprintf("{\"purged\":\"url\",\"found\":%t}\n", found))
}
