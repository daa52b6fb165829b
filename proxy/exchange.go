package proxy

import (
	"net"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/wire"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// exchange is the state of one request on its way through. Exchanges are pooled:
// every slice in it is reused, and nothing of it may be kept after release.
type exchange struct {
	transient

	h     *Handler
	shard int
	date  dateLine
	lean  *stored  // the entry of a hit that nothing but its bytes is kept of
	idBuf [32]byte // of an id that was made

	// The one form of the request, decided by guard.
	host  []byte
	path  []byte
	query []byte
	lines []line

	keyText  []byte // the full key
	redisKey []byte // the name under which the entry, or the index of its variants, is stored
	varyText []byte // the full key of the variant
	varyName []byte // its Redis key
	fields   cache.Header
	scratch  []byte
	out      []byte // what direct writes
	values   [][]byte
}

// transient is what release empties at once, in its place.
type transient struct {
	ctx  *fasthttp.RequestCtx // nil while direct has the request
	snap *snapshot
	// began is when the request was read; now moves on when the request has waited
	// for another's fill.
	began, now time.Time

	// The request as it was read: its target, and its field lines. It was HTTP/1.0 or 1.1.
	target, raw []byte
	http10      bool

	// More of its one form.
	method   []byte
	hasQuery bool
	odd      oddity
	wire     *wire.Conn // nil when another server read the request
	size     int64      // of the body: 0 for none, -1 when it is chunked
	upgrade  bool

	route         *route
	matched       bool // route is set, and the request passed the guard
	params        rules.Params
	session       *sessioncheck.Session
	checked       bool // a session was looked for; sessionStatus says what was found
	sessionStatus sessioncheck.Status
	recalled      sessioncheck.Result // the session, when direct has found it valid
	lifecycle     bool                // the response said something about the session
	cookies       []string            // of the session that it created or ended

	// What the cache needs of the request.
	keyed      bool // the response may be stored
	solo       bool // without waiting for others: the key is known to be uncacheable
	authorized bool // there is an Authorization field
	ranged     bool // there is a Range field
	directives cache.RequestDirectives
	scope      cache.Scope
	hash       cache.Hash
	index      *stored               // of the variants, when the key has one
	search     *cache.SearchVariance // what of the query does not count, when the path says so
	stale      *stored               // an entry that may not be served as it is
	conds      cache.Conditions      // by which it is validated
	background bool                  // nobody waits for the answer
	waited     bool                  // for another request's fill
	flight     *flight               // the fill that this request leads
	lease      *cache.Lease          // taken last; see takeLease
	flightKey  string
	fwd        cache.Fwd
	detail     string  // for Cache-Status
	fetched    fetched // by direct

	status       int
	outcome      outcome
	id           []byte        // of the request; see requestID
	edited       bool          // the rule's fields are in ctx.Request already
	upstreamTook time.Duration // until the application's header came; 0 when it was not asked
}

// release empties what refers to the request and gives the exchange back.
func (h *Handler) release(x *exchange) {
	x.giveUpFetched()
	clear(x.lines)
	clear(x.fields)
	clear(x.values)
	x.lean.forget()
	x.transient = transient{}
	x.host, x.path, x.query, x.lines = x.host[:0], x.path[:0], x.query[:0], x.lines[:0]
	x.keyText, x.redisKey, x.varyText, x.varyName = x.keyText[:0], x.redisKey[:0], x.varyText[:0], x.varyName[:0]
	x.fields, x.scratch, x.out, x.values = x.fields[:0], x.scratch[:0], x.out[:0], x.values[:0]
	h.pool.Put(x)
}

// acquire gives the exchange of a request: the one that direct has begun, or a new one.
func (h *Handler) acquire(ctx *fasthttp.RequestCtx) *exchange {
	w, _ := ctx.Conn().(*wire.Conn)
	if w != nil {
		if x, ok := w.Parked.(*exchange); ok {
			w.Parked, x.ctx = nil, ctx
			return x
		}
	}
	x := h.begin(w)
	x.ctx = ctx
	return x
}

func (h *Handler) begin(w *wire.Conn) *exchange {
	x := h.pool.Get().(*exchange)
	x.wire, x.began, x.snap = w, time.Now(), h.snap.Load()
	x.now = x.began
	return x
}

// Drop ends an exchange that direct began and that nobody goes on with: its connection
// has ended.
func (x *exchange) Drop() { x.h.release(x) }

// giveUpFetched ends what direct began with the application, when that is of no use.
func (x *exchange) giveUpFetched() {
	c := x.fetched.call
	if c == nil {
		return
	}
	if x.fetched = (fetched{}); c.body != nil {
		x.h.closeStream(c)
		return
	}
	c.release()
}

// isGet says whether the request is one that the cache may answer (RFC 9110 §9.2.3
// allows more; GET and HEAD are what is implemented).
func (x *exchange) isGet() bool  { return string(x.method) == fasthttp.MethodGet }
func (x *exchange) isHead() bool { return string(x.method) == fasthttp.MethodHead }

// safe says whether repeating the request changes nothing (RFC 9110 §9.2.2).
func (x *exchange) idempotent() bool {
	switch string(x.method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

func (x *exchange) hasKind(k kind) bool {
	for i := range x.lines {
		if x.lines[i].kind == k {
			return true
		}
	}
	return false
}

// FieldCount and Field let the session check look at the header as it was taken apart.
func (x *exchange) FieldCount() int { return len(x.lines) }

// Field gives one line of the header; see FieldCount.
func (x *exchange) Field(i int) (name, value []byte) { return x.lines[i].name, x.lines[i].value }

// PeekAll lets rules look at request fields. The result is valid until the next call.
func (x *exchange) PeekAll(name string) [][]byte {
	x.values = x.values[:0]
	for i := range x.lines {
		if foldEqualFold(x.lines[i].name, name) {
			x.values = append(x.values, x.lines[i].value)
		}
	}
	return x.values
}

// foldEqualFold compares without regard to ASCII case on either side.
func foldEqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		if lowerByte(b[i]) != lowerByte(s[i]) {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// clientAddr is the peer's address without a port; invalid for a Unix socket.
func (x *exchange) clientAddr() netip.Addr {
	if x.ctx == nil {
		return peerAddr(x.wire.RemoteAddr())
	}
	return peerAddr(x.ctx.RemoteAddr())
}

func peerAddr(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(tcp.IP)
	return a.Unmap()
}
