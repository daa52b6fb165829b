package proxy

import (
	"github.com/pillion-proxy/pillion/sessioncheck"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// stripsID says whether the application shall not see the session's id. Where no
// session is checked, such as for a login or logout, the application needs it.
func (x *exchange) stripsID() bool {
	return x.h.sessions.Strips() && x.route.session.Mode() != sessioncheck.ModeNone
}

// stripHandlerID is for a handler in this process. Of a field with several lines all are
// taken away before what is left of each is set again.
func (x *exchange) stripHandlerID() {
	if !x.stripsID() {
		return
	}
	h := &x.ctx.Request.Header
	var rest []byte
	for i := range x.lines {
		l := &x.lines[i]
		left, held := x.h.sessions.AppendWithout(rest, l.name, l.value)
		if held {
			h.DelBytes(l.name)
		} else if syntax.FoldEqual(l.name, "cookie") {
			left = appendLine(rest, l.name, l.value)
			h.DelBytes(l.name)
		}
		rest = left
	}
	setLines(h, rest)
}
