package proxy

import (
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"
)

// finish answers a panic, counts and logs the request, and gives the exchange back.
func (h *Handler) finish(x *exchange) {
	if p := recover(); p != nil {
		h.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("a request handler panicked")
		x.outcome = outcomeError
		x.problem(fasthttp.StatusInternalServerError, "An internal error occurred.", "")
		x.closeAfter()
	}
	x.setOut()
	x.settleConnection()
	took := time.Since(x.began)
	h.stats.count(x.shard, x.outcome, x.status, took)
	if x.snap.access == "all" || x.snap.access == "errors" && x.status >= 500 {
		x.logAccess(took)
	}
	h.release(x)
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

// logAccess writes one line. The session stands in it as a hash only.
func (x *exchange) logAccess(took time.Duration) {
	e := x.h.log.Info()
	if x.status >= 500 {
		e = x.h.log.Warn()
	}
	e = e.Str("client", x.clientAddr().String()).
		Bytes("method", x.method).Bytes("host", x.host).Bytes("path", x.path).
		Int("status", x.status).Str("outcome", x.outcome.String()).Dur("took_ms", took)
	if x.route != nil {
		e = e.Str("rule", x.route.name)
	}
	if x.session != nil {
		e = e.Str("session", x.session.LogID())
	}
	e.Msg("request")
}

// logFailure says why the application's answer was replaced.
func (h *Handler) logFailure(x *exchange, status int, err error) {
	h.log.Warn().Err(err).Bytes("method", x.method).Bytes("path", x.path).Int("status", status).
		Msg("the application gave no valid response")
}
