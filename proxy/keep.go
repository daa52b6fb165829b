package proxy

import (
	"bytes"
	"context"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// candidate is a response that may be stored.
type candidate struct {
	requested, received time.Time
	tags                []cache.TagMark
	lease               *cache.Lease
}

// keep stores the response that forward left in ctx.Response, if it may be stored,
// and makes it this request's answer either way. It ends the flight, at once or
// when the body has come.
func (x *exchange) keep(c *candidate, storing bool) {
	in := x.decisionInput(c)
	d := cache.DecideHead(in)
	if !d.Store || !storing {
		x.notKept(c, &d)
		return
	}
	if !x.responseTags(c) {
		// With Redis down it is no property of the response.
		x.notKept(c, &cache.Decision{Store: x.detail == detailRedisDown, Reason: reasonTags})
		return
	}
	dep := x.deposit(c, &d, x.ctx.Response.StatusCode())
	if dep == nil {
		d.Store, d.Reason = false, cache.ReasonVary
		x.notKept(c, &d)
		return
	}
	x.h.passes.remove(x.hash)
	x.keepSearch(dep)
	resp := &x.ctx.Response
	if !resp.IsBodyStream() {
		x.keepWhole(dep, in)
		return
	}
	stream, ok := resp.BodyStream().(*call)
	if size := int64(resp.Header.ContentLength()); !ok || size > x.snap.maxObject {
		// Too large, or the stream of an in-process handler, which cannot be shared.
		d.Store, d.Reason = false, cache.ReasonTooLarge
		x.notKept(c, &d)
		return
	}
	x.keepStream(dep, stream)
}

// notKept passes the response on, and remembers that it was not storable.
func (x *exchange) notKept(c *candidate, d *cache.Decision) {
	status := cache.Status{Fwd: x.fwd, FwdStatus: x.status, Detail: x.detail}
	if d.Store {
		x.h.passes.remove(x.hash)
	} else {
		x.h.passes.add(x.hash, x.now)
		status.Detail = string(d.Reason)
	}
	if x.lifecycle {
		status.Detail = detailLifecycle
	}
	x.endFlight(nil)
	x.h.giveBack(c.lease)
	x.addStatus(status)
}

// keepWhole stores a response whose body is here.
func (x *exchange) keepWhole(dep *deposit, in *cache.Input) {
	dep.entry.Body = bytes.Clone(x.ctx.Response.Body())
	in.BodyLen, in.Complete = int64(len(dep.entry.Body)), true
	status := cache.Status{Fwd: x.fwd, FwdStatus: x.status}
	var s *stored
	if d := cache.Decide(in); d.Store {
		s, status.Stored, status.Detail = dep.put()
	} else {
		x.h.giveBack(dep.lease)
		status.Detail = string(d.Reason)
	}
	if x.detail != "" {
		status.Detail = x.detail
	}
	x.endFlight(dep.shareable(s, status.Stored))
	if s != nil && cache.NotModified(x.conditions(), s.header, s.entry.Status, dep.received) {
		x.serve(s, status)
		return
	}
	x.addStatus(status)
}

// reasonTags: the response's tags are more or longer than a response can have, or
// one of them was purged while it was fetched.
const reasonTags cache.Reason = "tags"

// responseTags adds the tags that the response itself names: surrogate tags and
// groups. Their marks are read only now, so a purge since the fill began must show
// in the mark itself.
func (x *exchange) responseTags(c *candidate) bool {
	tags, ok := cache.AppendSurrogateTags(nil, x.fields, x.snap.tagFields)
	if !ok {
		return false
	}
	groups, ok := cache.AppendGroups(nil, x.fields)
	if !ok || len(c.tags)+len(tags)+len(groups) > cache.MaxTags {
		return false
	}
	for _, g := range groups {
		tags = append(tags, cache.AppendGroupTag(nil, x.host, g))
	}
	for _, tag := range tags {
		if c.hasTag(tag) {
			continue // with the mark from before the fill, or from when it was stored
		}
		mark, ok, err := x.h.store.MarkSince(context.Background(), cache.AppendTagName(nil, x.h.prefix, tag), c.requested)
		if err != nil {
			x.detail = detailRedisDown
		}
		if !ok {
			return false
		}
		c.tags = append(c.tags, cache.TagMark{Tag: tag, Mark: []byte(mark)})
	}
	return true
}

func (c *candidate) hasTag(tag []byte) bool {
	for i := range c.tags {
		if bytes.Equal(c.tags[i].Tag, tag) {
			return true
		}
	}
	return false
}

// keepStream answers with the body as it comes, while a goroutine of the handler
// collects it: how fast this client reads is nobody else's concern. Others that want
// the same are answered along the way when the length is known; a body without a
// length may yet prove too large to share, so for it they wait.
func (x *exchange) keepStream(dep *deposit, stream *call) {
	resp := &x.ctx.Response
	size := resp.Header.ContentLength()
	sp := newSpool(int(x.snap.maxObject), int64(size))
	stream.detach()
	x.stream(&spoolReader{s: sp, pins: true, ctx: x.ctx, extend: x.snap.server.WriteTimeout}, size)
	resp.ImmediateHeaderFlush = size < 0
	f, key := x.takeFlight()
	if f != nil && size >= 0 {
		f.live = x.liveResponse(dep, sp, size)
		close(f.ready)
	}
	h := x.h
	h.fills.Go(func() {
		end := func(s *stored) {
			if f != nil {
				h.flights.end(key, f, s)
				f = nil
			}
		}
		stored := false
		defer func() {
			if p := recover(); p != nil {
				h.panicked("storing a response", p)
				sp.end(errPanicked) // its readers are cut, and those who wait go on
				stored = false
			}
			h.closeStream(stream)
			if !stored {
				end(nil)
				h.giveBack(dep.lease)
			}
		}()
		sp.fill(stream, func() { end(nil) }, func(body []byte) {
			if !stream.whole() {
				return
			}
			// Before readers see the end: who has the whole answer finds it stored.
			dep.entry.Body, stored = body, true
			s, ok, _ := dep.put()
			end(dep.shareable(s, ok))
		})
	})
	x.addStatus(cache.Status{Fwd: x.fwd, FwdStatus: x.status, Stored: size >= 0, Detail: x.detail}) // without a length it may yet be too large
}

func (x *exchange) decisionInput(c *candidate) *cache.Input {
	h := &x.ctx.Response.Header
	x.fields = x.fields[:0]
	for name, value := range h.All() {
		x.fields = append(x.fields, cache.Field{Name: name, Value: value})
	}
	in := &cache.Input{
		Policy: &x.route.cache, MaxTTL: x.snap.maxTTL, MaxObject: x.snap.maxObject,
		Method: fasthttp.MethodGet, Request: x.directives, HasAuthorization: x.authorized,
		Protected: x.protected(), Scope: x.scope,
		Status: x.ctx.Response.StatusCode(), Response: x.fields,
		Requested: c.requested, Received: c.received,
		Validates: true, Targets: x.snap.targets, Path: x.path,
	}
	in.Request.NoStore = in.Request.NoStore || x.lifecycle // it is about one client's session
	return in
}
