package proxy

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/sessioncheck"
)

// detailLifecycle says why a response that is about its client's session is not stored.
const detailLifecycle = "session-lifecycle"

// takeLifecycle carries out what the application's response says about the session, if
// anything, before the response goes on. It is false when the request was answered
// otherwise: a response that tells of a session which is not written must not be seen.
func (x *exchange) takeLifecycle() bool {
	l, h := x.h.lifecycle, &x.ctx.Response.Header
	name := l.Header()
	if name == "" || len(h.Peek(name)) == 0 {
		return true
	}
	var lines []string
	for _, value := range h.PeekAll(name) {
		lines = append(lines, string(value))
	}
	h.Del(name)
	x.lifecycle = true
	if x.background {
		// Nobody waits for this answer who could be given a cookie.
		x.h.log.Warn().Bytes("path", x.path).Msg("a response that was fetched in the background has a session lifecycle field, which is ignored: cache no response that has one")
		return true
	}
	if c, ok := x.ctx.Response.BodyStream().(*call); ok {
		c.life.over() // the answer that ends a session must not be cut short by its end
	}
	cookies, err := l.Apply(context.Background(), lines, x.currentSession(), time.Now())
	if err != nil {
		x.lifecycleFailed(err)
		return false
	}
	x.cookies = cookies
	return true
}

// currentSession is the session of the request, looked for now where its rule did not
// ask for one: that is so for a log-in.
func (x *exchange) currentSession() sessioncheck.Result {
	if x.checked {
		return sessioncheck.Result{Status: x.sessionStatus, Session: x.session}
	}
	return x.h.sessions.Check(x.ctx, x.raw, time.Now())
}

func (x *exchange) lifecycleFailed(err error) {
	var wrong *sessioncheck.InstructionError
	switch {
	case errors.As(err, &wrong):
		x.outcome = outcomeError
		x.h.logFailure(x, fasthttp.StatusBadGateway, err)
		x.problem(fasthttp.StatusBadGateway, "The application did not give a valid response.", "")
	case errors.Is(err, sessioncheck.ErrNoSession):
		x.outcome = outcomeUnauthorized
		x.problem(fasthttp.StatusUnauthorized, "The session has ended.", "WWW-Authenticate: Session\r\n")
	default:
		x.outcome = outcomeUnknown
		x.h.logFailure(x, fasthttp.StatusServiceUnavailable, err)
		after := strconv.Itoa(max(1, int(x.snap.retryAfter/time.Second)))
		x.problem(fasthttp.StatusServiceUnavailable, "The session cannot be changed now.", "Retry-After: "+after+"\r\n")
	}
}

// addCookies gives the answer, from wherever it comes, the cookies of a session that was
// created or ended, and takes away what is for pillion alone. No cache on the way to the
// client may keep an answer with such a cookie.
func (x *exchange) addCookies() {
	h := &x.ctx.Response.Header
	if name := x.h.lifecycle.Header(); name != "" {
		h.Del(name)
	}
	if len(x.cookies) == 0 {
		return
	}
	for _, cookie := range x.cookies {
		h.AddBytesV(fasthttp.HeaderSetCookie, []byte(cookie))
	}
	h.Set(fasthttp.HeaderCacheControl, "no-store")
	h.Del("Surrogate-Control")
	h.Del("CDN-Cache-Control")
	for _, name := range x.snap.targets {
		h.Del(name)
	}
}
