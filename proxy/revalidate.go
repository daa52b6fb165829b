package proxy

import (
	"bytes"
	"context"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// validateStale makes the fill ask whether the stale entry still holds (RFC 9111
// §4.3.1). Not by the client's own validators: the answer is for all who wait.
func (x *exchange) validateStale(storing bool) {
	if x.stale != nil && storing && x.unchanged(x.stale) {
		x.conds = cache.ConditionsFor(x.stale.header, nil, time.UnixMilli(x.stale.entry.StoredAt))
	}
}

// unchanged says whether the entry that was looked up is still what is stored. Asked
// under the fill lease: a purge between the lookup and the lease took the entry away
// without touching the lease, which was not there yet, so what is made of the entry
// would outlive the purge. One after that takes the lease too. The reply that gave the
// lease came behind the push of any purge before it, so memory knows.
func (x *exchange) unchanged(s *stored) bool {
	name := x.redisKey
	if s.entry.Flags&cache.FlagVariant != 0 {
		name = cache.AppendVariantName(nil, x.h.prefix, x.hash, cache.HashKey(s.entry.Key))
	}
	is := x.load(name)
	return is != nil && (is == s || is.entry.StoredAt == s.entry.StoredAt && is.entry.FillStart == s.entry.FillStart &&
		bytes.Equal(is.entry.Header, s.entry.Header) && bytes.Equal(is.entry.Body, s.entry.Body))
}

// validated deals with a 304: the stale entry is updated and answers (RFC 9111
// §4.3.3, §4.3.4).
func (x *exchange) validated(c *candidate, storing bool) {
	in := x.decisionInput(c)
	if x.conds.Validated(x.fields, c.received) != cache.ValidationStored {
		// About something else: ask again, without conditions.
		x.conds, x.stale = cache.Conditions{}, nil
		x.ctx.Response.Reset()
		if !x.forward(true) {
			x.h.giveBack(c.lease)
			return
		}
		c.received = time.Now()
		x.keep(c, storing)
		return
	}
	old := x.stale
	in.Status = old.entry.Status
	cookies := x.setCookies()
	f := cache.Freshen(in, old.header, x.fields)
	x.fields = append(x.fields[:0], f.Header...)
	status := cache.Status{Fwd: x.fwd, FwdStatus: fasthttp.StatusNotModified}
	s, kept := x.update(c, &f.Decision, old)
	status.Stored = kept
	if x.directives.NoStore || !f.Decision.Store {
		status.Detail = string(f.Decision.Reason)
	}
	x.ctx.Response.Reset()
	x.serve(s, status)
	// They came with the 304, for this client. Where cookies are stored, they are in
	// what was served.
	if x.route.cache.SetCookie == cache.CookieStore {
		return
	}
	for _, cookie := range cookies {
		x.ctx.Response.Header.AddBytesV(fasthttp.HeaderSetCookie, cookie)
	}
}

func (x *exchange) setCookies() (cookies [][]byte) {
	for i := range x.fields {
		if syntax.FoldEqual(x.fields[i].Name, "set-cookie") {
			cookies = append(cookies, append([]byte(nil), x.fields[i].Value...))
		}
	}
	return cookies
}

// update stores what an update made of an entry, or removes the entry when it may
// not be stored any more, and ends the flight.
func (x *exchange) update(c *candidate, d *cache.Decision, old *stored) (s *stored, kept bool) {
	var dep *deposit
	if d.Store && x.responseTags(c) {
		dep = x.deposit(c, d, old.entry.Status)
	}
	if dep == nil {
		x.h.giveBack(c.lease)
		_, _ = x.h.store.PurgeKey(context.Background(), x.fillKey(), x.leaseKey())
		e := old.entry
		e.Header = cache.AppendHeader(nil, x.fields)
		e.StoredAt, e.InitialAge, e.Tags = c.received.UnixMilli(), d.Age, nil
		x.endFlight(nil)
		return newStored(&e, x.h.prefix), false
	}
	dep.entry.Body = old.entry.Body
	s, kept, _ = dep.put()
	x.endFlight(dep.shareable(s, kept))
	return s, kept
}

// serveOnFailure answers with the stale entry when the application failed and the
// entry may be served then (stale-if-error, RFC 5861 §4).
func (x *exchange) serveOnFailure(f cache.Failure) bool {
	if x.flight != nil {
		x.flight.failure = f
	}
	if x.stale == nil || x.background || !x.stale.entry.MayServeOnFailure(x.now, &x.directives, f) {
		return false
	}
	if _, ok := x.marksHold(x.stale); !ok {
		return false // purged while the application was asked
	}
	status := cache.Status{Fwd: x.fwd, TTL: x.stale.entry.TTL(x.now), HasTTL: true, Detail: "stale-if-error"}
	if f == cache.FailureStatus {
		status.FwdStatus = x.status
	}
	x.endFlight(nil)
	x.ctx.Response.Reset()
	x.outcome = outcomeStale
	x.serve(x.stale, status)
	return true
}

// headEffect lets the response to a HEAD update the entry stored for GET, or mark it
// stale (RFC 9111 §4.3.5).
func (x *exchange) headEffect() {
	now := time.Now()
	c := candidate{requested: x.now, received: now, tags: x.stale.entry.Tags}
	in := x.decisionInput(&c)
	old := x.stale
	effect := cache.EffectOfHead(old.header, old.entry.Status, int64(len(old.entry.Body)), x.status, x.fields)
	if effect == cache.HeadNone {
		return
	}
	var err error
	if c.lease, err = x.takeLease(x.leaseKey()); c.lease == nil || err != nil {
		return // a fill is under way, and knows better
	}
	if !x.unchanged(old) {
		x.h.giveBack(c.lease) // purged while the application was asked
		return
	}
	if effect == cache.HeadStale {
		e := old.entry
		e.SoftPurgedAt = now.UnixMilli()
		keep := e.Retention(now, x.snap.keep, cache.ValidatorsOf(old.header, time.UnixMilli(e.StoredAt)).Any())
		_, _ = x.h.store.Put(context.Background(), c.lease, x.fillKey(), cache.Encode(nil, &e), keep)
		return
	}
	in.Status = old.entry.Status
	f := cache.Freshen(in, old.header, x.fields)
	x.fields = append(x.fields[:0], f.Header...)
	x.update(&c, &f.Decision, old)
}
