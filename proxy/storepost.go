package proxy

import (
	"context"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// storeForGet stores the response to a POST that says, by Content-Location and
// explicit freshness, that it is what a GET of the target would give (RFC 9110 §9.3.3).
// When it returns true, the answer is complete.
func (x *exchange) storeForGet() bool {
	if string(x.method) != fasthttp.MethodPost || x.status != fasthttp.StatusOK || x.route.cache.Mode == cache.ModeOff ||
		x.ctx.Response.IsBodyStream() {
		return false
	}
	x.fields = x.fields[:0]
	for name, value := range x.ctx.Response.Header.All() {
		x.fields = append(x.fields, cache.Field{Name: name, Value: value})
	}
	own := cache.Target{Path: x.path, Query: x.query, HasQuery: x.hasQuery}
	if !cache.ContentLocationIsTarget(own, x.host, x.fields) || x.readDirectives() != "" || !x.setKey() {
		return false
	}
	// Its own lifetime and nobody else's: what a rule says is about GET.
	explicit := *x.route
	explicit.cache.TTL, explicit.cache.DefaultTTL, explicit.cache.Heuristic, explicit.cache.StatusTTL = 0, 0, false, nil
	x.route = &explicit
	c := candidate{requested: x.began, received: time.Now()}
	in := x.decisionInput(&c)
	d := cache.DecideHead(in)
	if !d.Store || d.Lifetime <= d.Age {
		return false
	}
	var ok bool
	if c.tags, ok = x.tags(); !ok || !x.responseTags(&c) {
		return false
	}
	var err error
	if c.lease, err = x.h.store.Begin(context.Background(), x.leaseKey()); c.lease == nil || err != nil {
		return false // a GET is filling it, and is younger
	}
	dep := x.deposit(&c, &d, x.status)
	if dep == nil {
		x.h.giveBack(c.lease)
		return false
	}
	x.keepWhole(dep, in)
	return true
}
