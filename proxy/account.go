package proxy

import (
	"time"

	"github.com/valyala/fasthttp"
)

// finish answers a panic, adds what every response has, counts and logs the request,
// and gives the exchange back: at once, or when its body has been passed on.
func (h *Handler) finish(x *exchange) {
	if p := recover(); p != nil {
		h.panicked("handling a request", p)
		x.afterPanic()
	}
	x.dress()
	took := x.sinceBegan()
	h.stats.count(x.shard, x.outcome, x.status, took)
	body := x.seal()
	x.settleConnection()
	ctx := x.ctx
	toTheEnd := x.setOut(body)
	switch logged := x.logs(); {
	case logged && body != nil:
		body.x = x
	case logged:
		x.logAccess(took, x.bytesOut())
		fallthrough
	default:
		h.release(x)
	}
	if toTheEnd {
		sendUntilClose(ctx, body)
	}
}

// settleConnection decides whether the client's connection goes on: not after a body
// that nobody read and that is too long to be read for nothing, nor after an answer
// that came before the whole request had.
func (x *exchange) settleConnection() {
	w := x.wire
	if w == nil || x.status == fasthttp.StatusSwitchingProtocols {
		return
	}
	if w.Expired(x.now) {
		x.ctx.SetConnectionClose()
	}
	// While a response streams its request may still be read: only Complete may be asked.
	if !w.Body().Complete() && (x.ctx.Response.IsBodyStream() || w.Body().MustClose()) {
		x.closeAfter()
	}
}

// afterPanic answers 500. What the response holds may be what panicked: its stream is
// ended first, and what that does is contained.
func (x *exchange) afterPanic() {
	x.dropLease()
	ended := false
	func() {
		defer x.h.contain("ending a response body")
		x.seal()
		_ = x.ctx.Response.CloseBodyStream()
		ended = true
	}()
	if !ended {
		x.ctx.Response = fasthttp.Response{} // it would be ended, and panic, again
	}
	x.outcome = outcomeError
	x.problem(fasthttp.StatusInternalServerError, "An internal error occurred.", "")
	x.closeAfter()
}

// dropLease gives back what a panic left behind.
func (x *exchange) dropLease() {
	defer x.h.contain("giving a fill lease back")
	x.h.giveBack(x.lease)
}

// dress adds what is the same for every response, from wherever it comes.
func (x *exchange) dress() {
	if id := x.requestID(); len(id) > 0 {
		x.ctx.Response.Header.SetBytesKV(x.snap.requestField, id)
	}
	x.editResponse()
	x.addCookies()
}

func (x *exchange) sinceBegan() time.Duration { return time.Since(x.began) }

// logFailure says why the application's answer was replaced.
func (h *Handler) logFailure(x *exchange, status int, err error) {
	h.log.Warn().Err(err).Bytes("method", x.method).Bytes("path", x.path).Int("status", status).
		Msg("the application gave no valid response")
}
