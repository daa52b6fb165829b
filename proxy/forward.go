package proxy

import (
	"errors"
	"math"
	"net/netip"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/proxy/wire"
)

// buildHead appends the request head for the application, up to the framing fields.
// plain leaves out what would make the answer anything else than the whole response:
// conditions and ranges. The rule's changes come last but for the session's identity,
// which no rule changes.
func (x *exchange) buildHead(b []byte, plain bool) []byte {
	b = append(b, x.method...)
	b = append(b, ' ')
	b, stripped := x.appendAppTarget(b)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = x.appendAppHost(b)
	b = append(b, '\r', '\n')
	start := len(b)
	strip := x.stripsID()
	for i := range x.lines {
		l := &x.lines[i]
		switch l.kind {
		case kindPass, kindAuthorization, kindCacheControl, kindPragma, kindRange, kindPrecondition, kindMaxForwards:
		default:
			continue
		}
		// A client never speaks for the session check, on any route.
		if x.h.sessions.IsIdentityHeader(l.name) || x.snap.isRequestID(l.name) || x.h.tasks.isTwin(l.name) || plain && x.leftOut(l.name) {
			continue
		}
		if l.kind == kindMaxForwards {
			b = x.appendMaxForwards(b, l)
			continue
		}
		if strip {
			if rest, held := x.h.sessions.AppendWithout(b, l.name, l.value); held {
				b = rest
				continue
			}
		}
		b = appendLine(b, l.name, l.value)
	}
	if plain {
		x.fields = x.conds.AppendFields(x.fields[:0])
		for _, f := range x.fields {
			b = appendLine(b, f.Name, f.Value)
		}
	}
	b = x.appendForwarded(b)
	b = x.appendPrefix(b, stripped, plain)
	b = append(b, "Via: 1.1 pillion\r\n"...)
	if id := x.requestID(); len(id) > 0 {
		b = appendLine(b, x.snap.requestField, id)
	}
	b = x.editHead(b, start)
	if x.session != nil {
		b = x.h.sessions.AppendIdentity(b, x.session)
	}
	return b
}

func (x *exchange) appendTarget(b []byte) []byte {
	b = append(b, x.path...)
	if x.hasQuery {
		b = append(b, '?')
		b = append(b, x.query...)
	}
	return b
}

func appendLine(b, name, value []byte) []byte {
	b = append(b, name...)
	b = append(b, ':', ' ')
	b = append(b, value...)
	return append(b, '\r', '\n')
}

// leftOut says which of the client's fields have no part in a fetch that others
// share: what asks for less than the whole response, and what applications are known
// to reflect though no key has it.
func (x *exchange) leftOut(name []byte) bool {
	return conditional(name) || x.scope == cache.ScopePublic && cache.Poisonous(name) && !x.inKey(name)
}

// inKey says whether the rule's key has the field.
func (x *exchange) inKey(name []byte) bool {
	for _, n := range x.route.cache.Key.Headers {
		if foldEqualFold(name, n) {
			return true
		}
	}
	return false
}

// conditional names the fields that ask for less than the whole response (RFC 9110 §13.1, §14.2).
func conditional(name []byte) bool {
	switch name[0] | 0x20 {
	case 'i':
		return syntax.FoldEqual(name, "if-none-match") || syntax.FoldEqual(name, "if-modified-since") ||
			syntax.FoldEqual(name, "if-match") || syntax.FoldEqual(name, "if-unmodified-since") || syntax.FoldEqual(name, "if-range")
	case 'r':
		return syntax.FoldEqual(name, "range")
	}
	return false
}

// appendForwarded tells the application who called. What a trusted proxy said is
// kept and extended; what anybody else said is dropped.
func (x *exchange) appendForwarded(b []byte) []byte {
	client := x.clientAddr()
	trusted := x.snap.trusts(client)
	b = append(b, "X-Forwarded-For: "...)
	at := len(b)
	if trusted {
		b = x.appendGiven(b, kindFor)
	}
	if len(b) > at && !client.IsValid() {
		b = b[:len(b)-len(", ")] // a Unix socket has no address: whoever looks at the last one must not find a word
	} else {
		b = appendAddr(b, client)
	}
	b = append(b, "\r\nX-Forwarded-Proto: "...)
	if given := x.given(trusted, kindProto); given != nil {
		b = append(b, given...)
	} else {
		b = append(b, x.scheme()...)
	}
	b = append(b, "\r\nX-Forwarded-Host: "...)
	if given := x.given(trusted, kindFwdHost); given != nil {
		b = append(b, given...)
	} else {
		b = append(b, x.host...)
	}
	b = append(b, "\r\nForwarded: "...)
	if trusted {
		b = x.appendGiven(b, kindForwarded)
	}
	b = append(b, "for="...)
	if client.Is6() { // RFC 7239 §6
		b = append(appendAddr(append(b, '"', '['), client), ']', '"')
	} else {
		b = appendAddr(b, client)
	}
	b = append(b, `;host="`...)
	b = append(b, x.host...)
	b = append(b, `";proto=`...)
	b = append(b, x.scheme()...)
	return append(b, '\r', '\n')
}

func (x *exchange) scheme() string {
	if x.wire != nil && x.wire.IsTLS() || x.ctx != nil && x.ctx.IsTLS() {
		return "https"
	}
	return "http"
}

// appendGiven copies every value of a kind, each followed by a comma.
func (x *exchange) appendGiven(b []byte, k kind) []byte {
	for i := range x.lines {
		if x.lines[i].kind == k && len(x.lines[i].value) > 0 {
			b = append(append(b, x.lines[i].value...), ", "...)
		}
	}
	return b
}

// given is what a trusted proxy said in a field that has one value; nil for nothing.
func (x *exchange) given(trusted bool, k kind) []byte {
	if !trusted {
		return nil
	}
	for i := range x.lines {
		if x.lines[i].kind == k && len(x.lines[i].value) > 0 {
			return x.lines[i].value
		}
	}
	return nil
}

// appendAddr writes an address; "unknown" (RFC 7239 §6.2) is a peer on a Unix socket.
func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(b, "unknown"...)
	}
	return a.AppendTo(b)
}

// errBodyTooLarge says that a client's body went past max_body.
var errBodyTooLarge = errors.New("request body larger than max_body")

// maxBody is the largest body that this request may have: the rule's bound, where it
// has one.
func (x *exchange) maxBody() int64 {
	if x.route == nil {
		return x.snap.maxBody
	}
	return x.route.maxBody
}

// forward sends the request to the application and leaves its response, head and
// body, in ctx.Response. It answers with a problem and returns false when there is none.
func (x *exchange) forward(plain bool) bool {
	if err := x.route.origin.fetch(x, plain); err != nil {
		x.forwardFailed(err)
		return false
	}
	x.status = x.ctx.Response.StatusCode()
	return x.takeFields()
}

func (x *exchange) forwardFailed(err error) {
	var r *refusalError
	var unread *wire.Refusal // the client's body is malformed, or did not come
	failure := cache.FailureConnect
	status, detail := fasthttp.StatusBadGateway, "The application did not give a valid response."
	retryAfter := 1
	var unavailable *upstream.UnavailableError
	switch {
	case errors.As(err, &unavailable):
		status, detail = fasthttp.StatusServiceUnavailable, "The application is not available."
		retryAfter = max(1, int(math.Ceil(unavailable.After.Seconds())))
	case errors.As(err, &r):
		x.refuse(r.refusal)
		return
	case errors.As(err, &unread):
		x.refuse(&refusal{unread.Status, unread.Reason, unread.Detail})
		return
	case errors.Is(err, errBodyTooLarge):
		x.refuse(&refuseBody)
		return
	case errors.Is(err, errPanicked):
		status, detail = fasthttp.StatusInternalServerError, "An internal error occurred."
	case errors.Is(err, upstream.ErrRequestBody):
		status, detail = fasthttp.StatusBadRequest, "The request body ended early."
	case errors.Is(err, upstream.ErrTimeout):
		failure = cache.FailureTimeout
		status, detail = fasthttp.StatusGatewayTimeout, "The application did not answer in time."
	case errors.Is(err, upstream.ErrNoConnection):
		status, detail = fasthttp.StatusServiceUnavailable, "All connections to the application are in use."
	case errors.Is(err, upstream.ErrConnect):
		detail = "The application cannot be reached."
	}
	x.h.stats.upstreamFailed(x.route.upstream, status)
	if unavailable == nil { // that no requests are sent was logged when it began
		x.h.logFailure(x, status, err)
	}
	if x.serveOnFailure(failure) {
		return
	}
	extra := ""
	if status == fasthttp.StatusServiceUnavailable {
		extra = "Retry-After: " + strconv.Itoa(retryAfter) + "\r\n"
	}
	x.outcome = outcomeError
	x.problem(status, detail, extra)
	if x.size != 0 {
		x.closeAfter() // how much of the body was read is not certain
	}
}

// refusalError carries a refusal that is found while forwarding.
type refusalError struct{ refusal *refusal }

func (e *refusalError) Error() string { return e.refusal.detail }
