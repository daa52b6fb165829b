// Package proxy is the life of a request: Handle reads in its order. The rest of
// the package is what those lines need: one form of the request (guard), what goes
// to the application and comes back (forward, origin), what the cache has and gets
// (lookup, fill), and the answer (respond, problem).
package proxy

import (
	"github.com/valyala/fasthttp"
)

// Handle answers one request. It is a fasthttp.RequestHandler, safe for
// concurrent use. A panic on the way is answered with 500.
func (h *Handler) Handle(ctx *fasthttp.RequestCtx) {
	x := h.acquire(ctx)
	defer h.finish(x)
	if !x.matched { // else direct has come so far
		if refused := x.guard(); refused != nil { // 1. one form, or none
			x.refuse(refused)
			return
		}
		if x.wantsPurge() {
			x.purgeByMethod()
			return
		}
		if refused := x.match(); refused != nil { // 2. the rule
			x.refuse(refused)
			return
		}
	}
	if !x.authenticate() { // 3. the session: before anything is looked up
		return
	}
	if x.lookup() { // 4. memory, then Redis
		return
	}
	x.fetch() // 5. the application, once per key; 6. respond
}

// match finds the rule; without one the safe defaults apply. A path of which it is not
// certain that it is for this rule is refused.
func (x *exchange) match() *refusal {
	req := x.matchRequest()
	i := x.snap.table.Match(&req, &x.params)
	if x.route = &x.snap.unmatched; i >= 0 {
		x.route = &x.snap.routes[i]
	}
	x.matched = true
	if x.odd == 0 {
		return nil
	}
	return x.sameMeaning(i)
}
