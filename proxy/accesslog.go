package proxy

import (
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// accessMode is log.access.
type accessMode uint8

const (
	accessOff accessMode = iota
	accessErrors
	accessSampled
	accessAll
)

func accessModeOf(word string) accessMode {
	switch word {
	case "errors":
		return accessErrors
	case "sampled":
		return accessSampled
	case "all":
		return accessAll
	}
	return accessOff
}

// The bounds of what the access log holds of a client's own text.
const (
	maxLoggedPath  = 2048
	maxLoggedField = 256
)

// logs says whether the request gets a line.
func (x *exchange) logs() bool {
	switch x.snap.access {
	case accessOff:
		return false
	case accessAll:
		return true
	case accessSampled:
		return x.status >= 500 || rand.Float64() < x.snap.sample
	}
	return x.status >= 500
}

// logAccess writes one line. No secret stands in it: not the query, which may hold a
// token; no cookie and no credential; of the session a hash.
func (x *exchange) logAccess(took time.Duration, sent int64) {
	e := x.h.log.Info()
	if x.status >= 500 {
		e = x.h.log.Warn()
	}
	if !e.Enabled() {
		return
	}
	optional(e, "request_id", x.requestID(), maxRequestID)
	optional(e, "trace_id", x.traceID(), maxLoggedField)
	x.logClient(e)
	optional(e, "method", x.method, 32)
	optional(e, "host", x.host, maxLoggedField)
	optional(e, "path", x.path, maxLoggedPath)
	e.Int("status", x.status)
	if x.route != nil {
		e.Str("rule", x.route.name)
	}
	e.Str("outcome", x.outcome.String())
	x.logCache(e)
	x.logSession(e)
	e.Dur("took_ms", took)
	if x.upstreamTook > 0 {
		e.Dur("upstream_ms", x.upstreamTook)
	}
	if x.size >= 0 {
		e.Int64("bytes_in", x.size)
	}
	if sent >= 0 {
		e.Int64("bytes_out", sent)
	}
	optional(e, "user_agent", x.lineOf("user-agent"), maxLoggedField)
	e.Msg("request")
}

// optional adds a text that is not empty, cut to its bound.
func optional(e *zerolog.Event, key string, value []byte, limit int) {
	if len(value) > 0 {
		e.Bytes(key, value[:min(len(value), limit)])
	}
}

// logClient adds the peer's address and, where the peer is trusted, whom it speaks for.
func (x *exchange) logClient(e *zerolog.Event) {
	client := x.clientAddr()
	x.scratch = appendAddr(x.scratch[:0], client)
	e.Bytes("client", x.scratch)
	if !x.hasKind(kindFor) || !x.snap.trusts(client) {
		return
	}
	given := x.appendGiven(x.scratch[:0], kindFor)
	x.scratch = given
	optional(e, "forwarded_for", given[:max(0, len(given)-len(", "))], maxLoggedField)
}

// logCache says what the cache did: hit, or why the application was asked, in the words
// of Cache-Status. Nothing is said of a request that did not come so far.
func (x *exchange) logCache(e *zerolog.Event) {
	switch {
	case x.outcome == outcomeHit:
		e.Str("cache", "hit")
	case x.fwd != "":
		e.Str("cache", string(x.fwd))
	}
}

// lineOf gives the value of the first field line of a name in lower case.
func (x *exchange) lineOf(name string) []byte {
	for i := range x.lines {
		if syntax.FoldEqual(x.lines[i].name, name) {
			return x.lines[i].value
		}
	}
	return nil
}

func (x *exchange) logSession(e *zerolog.Event) {
	if x.route == nil {
		return
	}
	e.Str("session", x.sessionResult())
	if x.session != nil {
		e.Str("session_hash", x.session.LogID())
	}
}

// sessionResult is valid, absent, unknown or, where no session is asked for, none.
func (x *exchange) sessionResult() string {
	switch {
	case !x.checked:
		return "none"
	case x.sessionStatus == sessioncheck.Valid:
		return "valid"
	case x.sessionStatus == sessioncheck.Absent:
		return "absent"
	}
	return "unknown"
}

// bytesOut is the size of the body that is sent, where it is here.
func (x *exchange) bytesOut() int64 {
	resp := &x.ctx.Response
	switch {
	case resp.SkipBody || x.isHead():
		return 0
	case resp.IsBodyStream():
		return -1
	}
	return int64(len(resp.Body()))
}
