package proxy

import (
	"github.com/valyala/fasthttp"
)

// maxRefreshes bounds the background refreshes of this process. One more is not
// begun; the next request for the entry tries again.
const maxRefreshes = 64

// refresh fetches a fresh response in the background while the stale one is served
// (stale-while-revalidate, RFC 5861 §3): one fetch for each key in this process by
// the flight, one on all pods by the lease.
func (x *exchange) refresh(s *stored) {
	select {
	case x.h.refreshes <- struct{}{}:
	default:
		return
	}
	key := x.fillKey()
	f, lead := x.h.flights.join(key)
	if !lead {
		<-x.h.refreshes
		return
	}
	ctx := new(fasthttp.RequestCtx)
	var req fasthttp.Request
	x.ctx.Request.CopyTo(&req)
	req.Header.SetMethod(fasthttp.MethodGet) // what is stored is the response to a GET
	ctx.Init(&req, x.ctx.RemoteAddr(), nil)
	y := x.h.acquire(ctx)
	y.snap, y.session, y.background = x.snap, x.session, true
	y.flight, y.flightKey = f, key
	y.keyText = append(y.keyText[:0], x.keyText...)
	y.redisKey = append(y.redisKey[:0], x.redisKey...)
	y.varyText = append(y.varyText[:0], x.varyText...)
	y.varyName = append(y.varyName[:0], x.varyName...)
	y.hash, y.scope, y.index, y.stale = x.hash, x.scope, x.index, s
	y.authorized, y.keyed, y.fwd = x.authorized, true, x.fwd
	h := x.h // x is another request's by the time the refresh ends
	h.fills.Go(func() {
		defer func() { <-h.refreshes }()
		y.refreshNow()
	})
}

// refreshNow runs a refresh; its answer goes nowhere but into the store.
func (y *exchange) refreshNow() {
	h := y.h
	defer h.release(y)
	defer y.endFlight(nil)
	defer func() {
		// The spool pins its reader: nobody reads here, so let it go. Also after a
		// panic, or what fills the spool would wait for ever.
		defer h.contain("ending a background refresh")
		_ = y.ctx.Response.CloseBodyStream()
	}()
	defer h.contain("refreshing in the background")
	if y.guard() != nil || y.match() != nil {
		return // it passed before, as the same bytes
	}
	y.fill()
}
