package cache

import (
	"math/bits"
	"time"

	"github.com/pillion-proxy/pillion/units"
)

// Reason says in one token why a response is stored or not. It is a label of the
// metrics and the detail of Cache-Status, so the set is closed: see Reasons.
type Reason string

// The reasons of a Decision.
const (
	ReasonStored         Reason = "stored"
	ReasonOff            Reason = "off"              // the rule says cache: off
	ReasonMethod         Reason = "method"           // not a GET
	ReasonRequestNoStore Reason = "request-no-store" // RFC 9111 §5.2.1.5
	ReasonStatus         Reason = "status"           // interim, 304, or never the answer to another request
	ReasonPartial        Reason = "partial"          // RFC 9111 §3.3
	ReasonMalformed      Reason = "malformed"        // a field that no message may hold
	ReasonNoStore        Reason = "no-store"         // RFC 9111 §5.2.2.5
	ReasonPrivate        Reason = "private"          // RFC 9111 §5.2.2.7
	ReasonNoCache        Reason = "no-cache"         // RFC 9111 §5.2.2.4
	ReasonSetCookie      Reason = "set-cookie"       // RFC 9111 §7.3
	ReasonVary           Reason = "vary"             // RFC 9111 §4.1: *, or more than a key holds
	ReasonEncoding       Reason = "encoding"         // a coding that the key does not tell apart
	ReasonProtected      Reason = "protected"        // would be shared between users
	ReasonAuthorization  Reason = "authorization"    // RFC 9111 §3.5
	ReasonNoFreshness    Reason = "no-freshness"     // neither the origin nor the rule gives a lifetime
	ReasonStale          Reason = "stale"            // at or past its lifetime on arrival
	ReasonTooLarge       Reason = "too-large"        // cache.max_object
	ReasonIncomplete     Reason = "incomplete"       // RFC 9111 §3.3
	ReasonDeception      Reason = "deception"        // Content-Type and extension of the path disagree
	ReasonTags           Reason = "tags"             // tags or groups that exceed their bounds; Decide never says it
)

// Reasons lists every Reason, for who counts them.
func Reasons() []Reason {
	return []Reason{
		ReasonStored, ReasonOff, ReasonMethod, ReasonRequestNoStore, ReasonStatus, ReasonPartial, ReasonMalformed,
		ReasonNoStore, ReasonPrivate, ReasonNoCache, ReasonSetCookie, ReasonVary, ReasonEncoding, ReasonProtected,
		ReasonAuthorization, ReasonNoFreshness, ReasonStale, ReasonTooLarge, ReasonIncomplete,
		ReasonDeception, ReasonTags,
	}
}

// Input is all that decides whether a response is stored.
type Input struct {
	// Policy is the rule's; nil stands for one that says nothing.
	Policy *Policy
	// MaxTTL caps every lifetime, and MaxObject the body in bytes (Config).
	MaxTTL    time.Duration
	MaxObject int64
	// Heuristic allows a guessed lifetime (RFC 9111 §4.2.2); so does the policy's.
	Heuristic bool
	// Validates says that the caller asks Entry.Use before it serves an entry, and
	// leaves Decision.Omit out of it. Then what has a validator is stored although
	// it is stale or "no-cache", and what has a qualified private or no-cache is
	// stored without the named fields. Otherwise all of these are refused.
	Validates bool
	// Part says that the key is that of a part: it has the request's Range, so that a
	// 206 is no answer to any other request (RFC 9111 §3.3).
	Part bool
	// Targets are the names of the targeted fields that replace Cache-Control here,
	// the first that is usable (RFC 9213 §2.2).
	Targets []string

	// Method is the request's, Request its directives, and HasAuthorization says
	// whether it carried Authorization.
	Method           string
	Request          RequestDirectives
	HasAuthorization bool
	// Protected says that the route asked for a session, and Scope who shares the
	// key. Anything but ScopeUser and ScopeSession counts as public.
	Protected bool
	Scope     Scope
	// Path is the canonical path of the target, for Policy.MatchType; without one
	// nothing is compared.
	Path []byte

	// Status and Response are the response as the origin sent it, before
	// AppendStored leaves anything out.
	Status   int
	Response Header
	// Requested and Received are when the request was sent and the response
	// header arrived.
	Requested, Received time.Time

	// BodyLen is the number of body bytes received, and Complete says that the
	// body ended as its framing said it would. DecideHead looks at neither.
	BodyLen  int64
	Complete bool
}

// Decision says whether and how a response is stored.
type Decision struct {
	Store  bool
	Reason Reason
	// Lifetime is the freshness lifetime, capped and before jitter. Age is the
	// response's age when it arrived. When Store is set, Lifetime is greater than
	// Age, or Validator is set.
	Lifetime, Age time.Duration
	Source        Source
	// StaleWhileRevalidate and StaleIfError go into the Entry.
	StaleWhileRevalidate, StaleIfError time.Duration
	// Validator says that the stored response can be validated (RFC 9111 §4.3.1).
	Validator bool
	// Omit are the fields that must not be stored: AppendStoredExcept takes them.
	// They alias the response. Always empty without Input.Validates and
	// Policy.SetCookie.
	Omit [][]byte
	// VaryNames are the request fields that select this response: lower case,
	// sorted, none twice. Empty without a Vary.
	VaryNames [][]byte
	// Flags go into the Entry.
	Flags Flags
}

// Jittered gives the lifetime with the time that is left shortened by Jitter. It
// stays greater than Age.
func (d *Decision) Jittered(percent units.Percent, rnd uint64) time.Duration {
	return d.Age + Jitter(d.Lifetime-d.Age, percent, rnd)
}

// Jitter shortens a lifetime by a random share of up to percent, chosen by rnd,
// so that entries stored together do not expire together. It never lengthens,
// and what is longer than 0 stays so.
func Jitter(lifetime time.Duration, percent units.Percent, rnd uint64) time.Duration {
	span := uint64(float64(max(lifetime, 0)) * percent.Fraction())
	cut, _ := bits.Mul64(span, rnd) // span × rnd / 2⁶⁴, less than span
	return max(lifetime-time.Duration(cut), min(lifetime, 1))
}

// Decide says whether a complete response is stored (RFC 9111 §3) and for how
// long. It reads no clock and keeps nothing. It allocates only for VaryNames and
// for qualified directives.
func Decide(in *Input) Decision {
	d := DecideHead(in)
	if !d.Store {
		return d
	}
	if reason := in.forbiddenByBody(); reason != "" {
		return Decision{Reason: reason}
	}
	return d
}

// DecideHead decides by the response header alone, before the body is there: a
// response that it refuses need not be collected. What it accepts may still
// prove incomplete or too large, so Decide has the last word.
func DecideHead(in *Input) Decision {
	d := ReadDirectives(in.Response, in.Targets)
	for _, forbidden := range []Reason{
		in.forbiddenByRequest(), in.forbiddenByStatus(&d), in.forbiddenByHeader(&d),
		in.forbiddenByDirectives(&d), in.forbiddenByOwner(&d), in.forbiddenByType(),
	} {
		if forbidden != "" {
			return Decision{Reason: forbidden}
		}
	}
	names, ok := VaryNames(in.Response)
	switch {
	case !ok:
		return Decision{Reason: ReasonVary}
	case in.unknownCoding(names):
		return Decision{Reason: ReasonEncoding}
	case declaredLength(in.Response) > in.MaxObject:
		return Decision{Reason: ReasonTooLarge}
	}
	return in.timed(&d, names)
}

// timed adds the lifetime, and refuses what can neither be used as it is nor
// validated.
func (in *Input) timed(d *ResponseDirectives, names [][]byte) Decision {
	validator := in.Validates && in.validatable()
	lifetime, source := in.lifetime(d)
	if source == SourceNone && !(validator && in.storableUnasked(d)) {
		return Decision{Reason: ReasonNoFreshness}
	}
	lifetime = min(lifetime, in.MaxTTL)
	age := InitialAge(in.Response, in.Requested, in.Received)
	if !Fresh(age, lifetime) && !validator {
		return Decision{Reason: ReasonStale}
	}
	out := Decision{
		Store: true, Reason: ReasonStored, Lifetime: lifetime, Age: age, Source: source,
		VaryNames: names, Flags: in.flags(d, names), Validator: validator, Omit: in.omitted(d),
	}
	out.StaleWhileRevalidate, out.StaleIfError = in.windows(d, out.Flags)
	if source == SourceNone {
		// Nobody gave it a lifetime that a window could extend: it would be used
		// unvalidated although nobody asked for that.
		out.StaleWhileRevalidate = 0
	}
	return out
}

func (in *Input) flags(d *ResponseDirectives, names [][]byte) Flags {
	var f Flags
	// s-maxage implies proxy-revalidate for a shared cache (RFC 9111 §5.2.2.10). A
	// rule that overrides the origin's freshness overrides that part of it too.
	if d.MustRevalidate || d.ProxyRevalidate || (d.SMaxAge.Set && !in.overrides()) {
		f |= FlagMustRevalidate
	}
	if d.NoCache && !in.overrides() {
		f |= FlagValidate
	}
	if d.Public || d.MustRevalidate || (d.SMaxAge.Set && !d.SMaxAge.Invalid) {
		f |= FlagShared
	}
	if len(names) > 0 {
		f |= FlagVariant
	}
	return f
}

// forbiddenByRequest: only a GET is stored. HEAD is answered from GET's entry,
// and a HEAD response has no body to store.
func (in *Input) forbiddenByRequest() Reason {
	switch {
	case in.Policy != nil && in.Policy.Mode == ModeOff:
		return ReasonOff
	case in.Method != "GET":
		return ReasonMethod
	case in.Request.NoStore:
		return ReasonRequestNoStore
	}
	return ""
}

// forbiddenByStatus: the status must be final (RFC 9111 §3), understood if the
// origin asks for that (§5.2.2.3), and the answer to anybody's request.
func (in *Input) forbiddenByStatus(d *ResponseDirectives) Reason {
	switch {
	case in.Status == 226 || !in.Part && (in.Status == 206 || in.isPartOfWhole()):
		return ReasonPartial
	case in.Status < 200 || in.Status > 599 || in.Status == 304 || onlyForItsRequest(in.Status):
		return ReasonStatus
	case d.MustUnderstand && !understood(in.Status):
		return ReasonStatus
	}
	return ""
}

// isPartOfWhole reports a Content-Range in bytes. The field has a meaning in 206
// and 416 only (RFC 9110 §14.4), but an origin that sends it with 200 sends a
// part nevertheless, and a part must not be served as the whole.
func (in *Input) isPartOfWhole() bool {
	for v := range in.Response.Values("Content-Range") {
		if len(v) > 5 && equalFold(v[:5], "bytes") && !isTokenByte(v[5]) {
			return true
		}
	}
	return false
}

// onlyForItsRequest lists the statuses that answer something which is not part
// of any key: a precondition, a range, the connection, the size or the frequency
// of requests. RFC 6585 forbids to store 428, 429, 431 and 511 outright.
func onlyForItsRequest(status int) bool {
	switch status {
	case 407, 408, 412, 416, 417, 421, 425, 428, 429, 431, 511:
		return true
	}
	return false
}

// understood lists the final statuses whose caching requirements are known here
// (RFC 9110 §15 and the registered ones beside it).
func understood(status int) bool {
	switch {
	case status >= 200 && status <= 205, status >= 300 && status <= 303, status == 307, status == 308:
		return true
	case status >= 400 && status <= 417, status >= 421 && status <= 426, status == 451:
		return true
	}
	return (status >= 500 && status <= 505) || status == 507 || status == 508
}

// forbiddenByHeader refuses cookies, which belong to one user, and fields that
// could not be written into a message again.
func (in *Input) forbiddenByHeader(d *ResponseDirectives) Reason {
	for i := range in.Response {
		f := &in.Response[i]
		if !isToken(f.Name) || !isFieldValue(f.Value) {
			return ReasonMalformed
		}
		if isSetCookie(f.Name) && !in.cookieAllowed(d, f.Name) {
			return ReasonSetCookie
		}
	}
	return ""
}

// forbiddenByDirectives reads the origin's prohibitions. Qualified private and
// no-cache count as unqualified, which forbids more than they do, for a caller
// that cannot leave fields out. no-store beside must-understand is for caches that
// do not know the status: this one does, or forbiddenByStatus has refused (RFC
// 9111 §5.2.2.3).
func (in *Input) forbiddenByDirectives(d *ResponseDirectives) Reason {
	switch {
	case d.NoStore && !d.MustUnderstand:
		return ReasonNoStore
	case d.Private || (len(d.PrivateFields) > 0 && !in.Validates):
		return ReasonPrivate
	case in.overrides():
		return ""
	case d.NoCache && !(in.Validates && in.validatable()), len(d.NoCacheFields) > 0 && !in.Validates:
		return ReasonNoCache
	}
	return ""
}

// forbiddenByOwner keeps what was made for one user out of a key that others
// share, unless the rule says scope: public, or the origin allows it: by public
// on a protected route; by public, s-maxage or must-revalidate for a request
// with Authorization (RFC 9111 §3.5).
func (in *Input) forbiddenByOwner(d *ResponseDirectives) Reason {
	if in.Scope == ScopeUser || in.Scope == ScopeSession {
		return ""
	}
	if in.Policy != nil && in.Policy.Scope == ScopePublic {
		return ""
	}
	if in.Protected && !d.Public {
		return ReasonProtected
	}
	if in.HasAuthorization && !d.Public && !d.MustRevalidate && (!d.SMaxAge.Set || d.SMaxAge.Invalid) {
		return ReasonAuthorization
	}
	return ""
}

// unknownCoding reports a content coding that AppendVary leaves out of the
// normalised Accept-Encoding: stored, it would reach clients that cannot read it.
func (in *Input) unknownCoding(names [][]byte) bool {
	varies := false
	for _, n := range names {
		varies = varies || equalFold(n, "accept-encoding")
	}
	if !varies {
		return false
	}
	for coding := range in.Response.List("Content-Encoding") {
		if codingOf(coding) == 0 {
			return true
		}
	}
	return false
}

// declaredLength gives the Content-Length, or -1 when there is none, it is
// invalid, or there are several that differ (RFC 9110 §8.6).
func declaredLength(h Header) int64 {
	length := int64(-1)
	for v := range h.List("Content-Length") {
		n, ok := parseLength(v)
		if !ok || (length >= 0 && n != length) {
			return -1
		}
		length = n
	}
	return length
}

func parseLength(b []byte) (int64, bool) {
	var n int64
	for _, c := range b {
		if !isDigit(c) || n > 1<<53 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(b) > 0
}

// forbiddenByBody refuses bodies that are cut short (RFC 9111 §3.3) or too large.
func (in *Input) forbiddenByBody() Reason {
	switch {
	case in.BodyLen > in.MaxObject:
		return ReasonTooLarge
	case !in.Complete, in.BodyLen < 0:
		return ReasonIncomplete
	case in.Response.Has("Content-Length") && declaredLength(in.Response) != in.BodyLen:
		return ReasonIncomplete
	}
	return ""
}

// lifetime gives the rule's lifetime, else the origin's. It is called only for
// what nothing forbids to store, so a rule cannot undo a prohibition.
func (in *Input) lifetime(d *ResponseDirectives) (time.Duration, Source) {
	p := in.Policy
	if p == nil {
		p = &Policy{}
	}
	if ttl, ok := p.StatusTTL[in.Status]; ok {
		if ttl <= 0 {
			return 0, SourceNone
		}
		return ttl, SourceRule
	}
	if p.TTL > 0 && successful(in.Status) {
		return p.TTL, SourceRule
	}
	if ttl := negativeTTL(p, in.Status); ttl > 0 {
		return ttl, SourceNegative
	}
	life, source := Lifetime(in.Response, d, in.Status, in.Received, in.Heuristic || p.Heuristic)
	if source == SourceNone && p.DefaultTTL > 0 && successful(in.Status) {
		return p.DefaultTTL, SourceRule
	}
	return life, source
}

// successful reports the statuses that Policy.TTL applies to. Temporary
// redirects are not among them: they often depend on who asks.
func successful(status int) bool {
	return (status >= 200 && status <= 299) || status == 300 || status == 301 || status == 308
}

// maxServerErrorTTL bounds how long an error of the server itself is repeated:
// long enough to spare a server in trouble, too short to outlast the trouble.
const maxServerErrorTTL = time.Second

func negativeTTL(p *Policy, status int) time.Duration {
	switch status {
	case 400, 404, 405, 410, 414, 422, 451, 501:
		return p.NegativeTTL
	case 500, 502, 503, 504:
		return min(p.NegativeTTL, maxServerErrorTTL)
	}
	return 0
}
