package proxy

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/sessioncheck"
)

// authenticate lets the request go on, or answers it. Valid, absent and unknown
// are three things: 401 is said only when Redis has said that there is no session.
func (x *exchange) authenticate() bool {
	p := x.route.session
	if p.Mode() == sessioncheck.ModeNone || x.isPreflight() {
		return true
	}
	res := x.recalled
	if !x.checked {
		res = x.h.sessions.Check(x.ctx, x.raw, x.now)
		x.checked, x.sessionStatus = true, res.Status
	}
	switch res.Status {
	case sessioncheck.Valid:
		x.session = res.Session
		if !x.fromOwnSite(&res) {
			return false
		}
		if !p.Allows(res.Session) {
			x.outcome = outcomeForbidden
			x.problem(fasthttp.StatusForbidden, "This session is not allowed to do that.", "")
			return false
		}
		return true
	case sessioncheck.Absent:
		if p.Mode() == sessioncheck.ModeOptional {
			return x.fromOwnSite(&res)
		}
		x.sessionMissing()
		return false
	}
	// Not known: an optional route goes on without the session, as for a visitor;
	// nothing that needs one does.
	if p.Mode() == sessioncheck.ModeOptional {
		return x.fromOwnSite(&res)
	}
	x.outcome = outcomeUnknown
	after := strconv.Itoa(max(1, int(x.snap.retryAfter/time.Second)))
	x.problem(fasthttp.StatusServiceUnavailable, "Whether the session is valid cannot be checked now.", "Retry-After: "+after+"\r\n")
	return false
}
