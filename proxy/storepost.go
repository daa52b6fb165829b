package proxy

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// postMayBeKept says whether postForGet may have the request.
func (x *exchange) postMayBeKept() bool {
	return x.route.cache.Post && string(x.method) == fasthttp.MethodPost
}

// postForGet forwards a POST whose response may answer later GETs: when it says by
// Content-Location that it is what a GET of the target would give, and has explicit
// freshness (RFC 9110 §9.3.3). Marks and lease come first, as with every fill. It is
// false, with nothing done, when this POST cannot be stored whatever its response.
func (x *exchange) postForGet() bool {
	if !x.postMayBeKept() || !x.postKey() {
		return false
	}
	c := candidate{}
	var ok bool
	if c.tags, ok = x.tags(); !ok {
		return false
	}
	var err error
	if c.lease, err = x.takeLease(x.leaseKey()); c.lease == nil || err != nil {
		return false // a GET is filling it, and is younger
	}
	c.requested = time.Now()
	if !x.forward(true) {
		x.h.giveBack(c.lease)
		return true
	}
	c.received = time.Now()
	if !x.keepPost(&c) {
		x.h.giveBack(c.lease)
		x.invalidate()
		x.addStatus(cache.Status{Fwd: cache.FwdMethod, Detail: x.detail})
	}
	return true
}

// postKey builds the key that a GET of the target has. The rule of that GET decides
// about the rest; it must ask for the same kind of session.
func (x *exchange) postKey() bool {
	if x.route.bypass != nil && x.route.bypass.Matches(x.header(), x.query) {
		return false
	}
	get := x.snap.routeOfGet(&cache.KeyParts{Host: x.host, Path: x.path, Query: x.query})
	if get.session.Mode() != x.route.session.Mode() || get.cache.Mode == cache.ModeOff || x.readDirectives() != "" {
		return false
	}
	// What the GET's rule says about the cache; everything else stays as the POST's own
	// rule says, the application that it goes to above all.
	r := *x.route
	r.cache, r.tags, r.filter, r.bypass = get.cache, get.tags, get.filter, get.bypass
	// Its own lifetime and nobody else's: what the rule says is about GET.
	r.cache.TTL, r.cache.DefaultTTL, r.cache.Heuristic, r.cache.StatusTTL = 0, 0, false, nil
	x.route = &r
	return x.setKey()
}

// keepPost stores the response when it may be stored. The entry takes the place of the
// one that the POST made obsolete.
func (x *exchange) keepPost(c *candidate) bool {
	if x.status != fasthttp.StatusOK || x.ctx.Response.IsBodyStream() {
		return false
	}
	in := x.decisionInput(c)
	own := cache.Target{Path: x.path, Query: x.query, HasQuery: x.hasQuery}
	if !cache.ContentLocationIsTarget(own, x.host, x.fields) {
		return false
	}
	d := cache.DecideHead(in)
	if !d.Store || d.Lifetime <= d.Age || !x.responseTags(c) {
		return false
	}
	dep := x.deposit(c, &d, x.status)
	if dep == nil {
		return false
	}
	x.fwd = cache.FwdMethod
	x.invalidateOthers()
	x.decisionInput(c) // x.fields was used meanwhile
	x.keepWhole(dep, in)
	return true
}
