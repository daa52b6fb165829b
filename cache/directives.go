package cache

import "time"

// MaxDelta is the greatest number of seconds that a directive or an Age holds;
// greater ones count as this (RFC 9111 §1.2.2).
const MaxDelta = 1 << 31

// Delta is the argument of a directive, in seconds from 0 to MaxDelta.
type Delta struct {
	Seconds int64
	// Set says that the directive is present.
	Set bool
	// Invalid says that the argument was missing, malformed or contradicted by a
	// repetition, so that Seconds is the safe reading and not the sender's word.
	Invalid bool
}

// Duration gives the argument as a duration. It does not overflow.
func (d Delta) Duration() time.Duration { return time.Duration(d.Seconds) * time.Second }

// ResponseDirectives is a response's Cache-Control (RFC 9111 §5.2.2).
type ResponseDirectives struct {
	// Present says that there is a Cache-Control field at all.
	Present bool
	// Targeted says that the directives are those of a targeted field, in place of
	// Cache-Control and Expires (RFC 9213 §2.2).
	Targeted bool
	// NoCache and Private are the unqualified forms. A qualified form whose
	// argument cannot be read counts as unqualified, which forbids more.
	NoCache, Private                                                                         bool
	NoStore, Public, MustRevalidate, ProxyRevalidate, MustUnderstand, NoTransform, Immutable bool
	MaxAge, SMaxAge, StaleWhileRevalidate, StaleIfError                                      Delta
	// NoCacheFields and PrivateFields are the field names of no-cache="…" and
	// private="…" (§5.2.2.4, §5.2.2.7).
	NoCacheFields, PrivateFields [][]byte
}

// RequestDirectives is a request's Cache-Control (RFC 9111 §5.2.1).
type RequestDirectives struct {
	Present                                     bool
	NoCache, NoStore, NoTransform, OnlyIfCached bool
	MaxAge, MaxStale, MinFresh, StaleIfError    Delta
	// MaxStaleAny is max-stale without an argument: any staleness will do.
	MaxStaleAny bool
}

// ParseResponse reads the Cache-Control lines of a response. Unknown directives
// are ignored. It allocates only for qualified no-cache and private; the field
// names alias h.
func ParseResponse(h Header) ResponseDirectives {
	var d ResponseDirectives
	for i := range h {
		if !equalFold(h[i].Name, "Cache-Control") {
			continue
		}
		d.Present = true
		c := listCursor{rest: h[i].Value}
		for e, ok := c.next(); ok; e, ok = c.next() {
			d.apply(parseDirective(e))
		}
	}
	return d
}

// apply takes in one directive. A flag with an argument it does not define is
// taken where it forbids and not where it permits.
func (d *ResponseDirectives) apply(a directive) {
	var buf [maxDirective]byte
	switch string(a.lowerName(&buf)) {
	case "no-store":
		d.NoStore = true
	case "no-cache":
		d.NoCacheFields = a.fieldNames(d.NoCacheFields, &d.NoCache)
	case "private":
		d.PrivateFields = a.fieldNames(d.PrivateFields, &d.Private)
	case "public":
		d.Public = d.Public || !a.hasArg
	case "must-revalidate":
		d.MustRevalidate = true
	case "proxy-revalidate":
		d.ProxyRevalidate = true
	case "must-understand":
		d.MustUnderstand = true
	case "no-transform":
		d.NoTransform = true
	case "immutable":
		d.Immutable = true
	case "max-age":
		d.MaxAge = d.MaxAge.agree(a.delta(0))
	case "s-maxage":
		d.SMaxAge = d.SMaxAge.agree(a.delta(0))
	case "stale-while-revalidate":
		d.StaleWhileRevalidate = d.StaleWhileRevalidate.agree(a.delta(0))
	case "stale-if-error":
		d.StaleIfError = d.StaleIfError.agree(a.delta(0))
	}
}

// ParseRequest reads the Cache-Control lines of a request, and where there are
// none, Pragma: no-cache (RFC 9111 §5.4). It does not allocate.
func ParseRequest(h Header) RequestDirectives {
	var d RequestDirectives
	pragma := false
	for i := range h {
		isControl := equalFold(h[i].Name, "Cache-Control")
		if !isControl && !equalFold(h[i].Name, "Pragma") {
			continue
		}
		d.Present = d.Present || isControl
		c := listCursor{rest: h[i].Value}
		for e, ok := c.next(); ok; e, ok = c.next() {
			if isControl {
				d.apply(parseDirective(e))
			} else if equalFold(e, "no-cache") {
				pragma = true
			}
		}
	}
	if !d.Present && pragma {
		d.NoCache = true
	}
	return d
}

// apply takes in one directive. An argument that cannot be read gets the value
// that asks for the fresher response, and so does a contradiction.
func (d *RequestDirectives) apply(a directive) {
	var buf [maxDirective]byte
	switch string(a.lowerName(&buf)) {
	case "no-cache":
		d.NoCache = true
	case "no-store":
		d.NoStore = true
	case "no-transform":
		d.NoTransform = true
	case "only-if-cached":
		d.OnlyIfCached = true
	case "max-age":
		d.MaxAge = d.MaxAge.least(a.delta(0))
	case "min-fresh":
		d.MinFresh = d.MinFresh.greatest(a.delta(MaxDelta))
	case "stale-if-error": // RFC 5861 §4
		d.StaleIfError = d.StaleIfError.least(a.delta(0))
	case "max-stale":
		if !a.hasArg {
			d.MaxStaleAny = true
			return
		}
		d.MaxStale = d.MaxStale.least(a.delta(0))
	}
}

// agree merges a repetition: values that differ count as stale (RFC 9111 §4.2.1).
func (d Delta) agree(other Delta) Delta {
	if !d.Set {
		return other
	}
	if d.Invalid || other.Invalid || d.Seconds != other.Seconds {
		return Delta{Set: true, Invalid: true}
	}
	return d
}

func (d Delta) least(other Delta) Delta {
	if !d.Set || other.Seconds < d.Seconds {
		return other
	}
	return d
}

func (d Delta) greatest(other Delta) Delta {
	if !d.Set || other.Seconds > d.Seconds {
		return other
	}
	return d
}

// maxDirective is longer than every known directive's name.
const maxDirective = 24

// directive is one element of Cache-Control.
type directive struct {
	name, arg []byte
	hasArg    bool
	// bad says that the argument is malformed: an open or trailing quote, an
	// escape, whitespace beside the "=" (RFC 9111 §5.2 allows none).
	bad bool
}

// parseDirective splits an element into name and argument. The token and the
// quoted form of an argument are the same (RFC 9111 §5.2).
func parseDirective(e []byte) directive {
	eq := -1
	for i, c := range e {
		if c == '=' {
			eq = i
			break
		}
	}
	if eq < 0 {
		return directive{name: e}
	}
	d := directive{name: e[:eq], arg: e[eq+1:], hasArg: true}
	if name := trimSpace(d.name); len(name) < len(d.name) {
		d.name, d.bad = name, true
	}
	if len(d.arg) == 0 || isSpace(d.arg[0]) {
		d.bad = true
	}
	if len(d.arg) > 0 && d.arg[0] == '"' {
		end := quoteEnd(d.arg, 0)
		if end != len(d.arg)-1 {
			d.bad = true
			return d
		}
		d.arg = d.arg[1:end]
	}
	return d
}

// lowerName gives the name in lower case, or nothing when it is longer than any
// that is known.
func (a directive) lowerName(buf *[maxDirective]byte) []byte {
	if len(a.name) > len(buf) {
		return nil
	}
	for i, c := range a.name {
		buf[i] = lower(c)
	}
	return buf[:len(a.name)]
}

// delta reads the argument as delta-seconds; what is none becomes fallback.
func (a directive) delta(fallback int64) Delta {
	n, ok := parseDelta(a.arg)
	if !ok || a.bad {
		return Delta{Seconds: fallback, Set: true, Invalid: true}
	}
	return Delta{Seconds: n, Set: true}
}

// parseDelta reads digits, saturating at MaxDelta (RFC 9111 §1.2.2).
func parseDelta(b []byte) (int64, bool) {
	var n int64
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), MaxDelta)
	}
	return n, len(b) > 0
}

// fieldNames reads the argument of a qualified no-cache or private into names.
// Without an argument, or with one that is not a list of field names, the
// directive covers the whole response.
func (a directive) fieldNames(names [][]byte, whole *bool) [][]byte {
	if !a.hasArg || a.bad {
		*whole = true
		return names
	}
	before := len(names)
	c := listCursor{rest: a.arg}
	for e, ok := c.next(); ok; e, ok = c.next() {
		if !isToken(e) {
			*whole = true
			return names
		}
		names = append(names, e)
	}
	if len(names) == before {
		*whole = true
	}
	return names
}
