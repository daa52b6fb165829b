package proxy

import (
	"bytes"
	"context"
	"net"
	"net/netip"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/rules"
)

// keyHost is the authority as it stands in a cache key: as the client sent it, with
// its port, since an application may put it into links, and who could choose an
// unkeyed port could break those of others. Only when a client has dialled this
// very listener by address, and so the port is the listener's own, is the port left
// out: pods that differ in nothing else then share entries.
func (x *exchange) keyHost() []byte {
	host, port, ok := bytes.Cut(x.host, []byte{':'})
	if !ok || len(port) == 0 || bytes.IndexByte(port, ':') >= 0 || !directHost(host) {
		return x.host
	}
	local, ok := x.ctx.LocalAddr().(*net.TCPAddr)
	if !ok || !portEqual(port, local.Port) {
		return x.host
	}
	return host
}

// directHost says whether the host names a machine and not a site.
func directHost(host []byte) bool {
	if string(host) == "localhost" {
		return true
	}
	for _, c := range host {
		if (c < '0' || c > '9') && c != '.' {
			return false
		}
	}
	return len(host) > 0
}

func portEqual(digits []byte, port int) bool {
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' || n > 65535 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n == port
}

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
	path, r := canonicalPath(nil, rawPath)
	if r != nil {
		return false, &refusalError{r}
	}
	query, r := canonicalQuery(nil, rawQuery)
	if r != nil {
		return false, &refusalError{r}
	}
	lower := bytes.ToLower([]byte(host))
	snap := h.snap.Load()
	parts := cache.KeyParts{Scope: cache.ScopePublic, Host: lower, Path: path, Query: query, HasQuery: hasQuery}
	req := rules.Request{Method: []byte(fasthttp.MethodGet), Host: lower, Path: path, RawQuery: query}
	if i := snap.table.Match(&req, nil); i >= 0 {
		parts.Filter = snap.routes[i].filter
	}
	text, ok := cache.AppendKey(nil, &parts)
	if !ok {
		return false, nil
	}
	hash := cache.HashKey(text)
	return h.store.PurgeKey(ctx, cache.KeyName(h.prefix, hash), cache.LeaseName(h.prefix, hash))
}
