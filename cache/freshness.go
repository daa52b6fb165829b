package cache

import (
	"bytes"
	"time"
)

// Source says where a freshness lifetime came from.
type Source uint8

// The sources of a lifetime, RFC 9111 §4.2.1 in order, and what a rule sets.
const (
	SourceNone Source = iota
	SourceSMaxAge
	SourceMaxAge
	SourceExpires
	SourceHeuristic
	SourceRule
	SourceNegative
)

// Lifetime gives the freshness lifetime of a response to a shared cache and
// where it comes from (RFC 9111 §4.2.1): s-maxage, else max-age, else Expires −
// Date, else, only when heuristic is true, Heuristic. What is present and
// invalid gives 0: already stale. received is when the response arrived; it
// stands in for a Date that is missing or invalid (RFC 9110 §6.6.1).
func Lifetime(h Header, d *ResponseDirectives, status int, received time.Time, heuristic bool) (time.Duration, Source) {
	switch {
	case d.SMaxAge.Set:
		return d.SMaxAge.Duration(), SourceSMaxAge
	case d.MaxAge.Set:
		return d.MaxAge.Duration(), SourceMaxAge
	case h.Has("Expires") && !d.Targeted:
		return expiresLifetime(h, received), SourceExpires
	case heuristic:
		if life := Heuristic(h, d, status, received); life > 0 {
			return life, SourceHeuristic
		}
	}
	return 0, SourceNone
}

// expiresLifetime gives Expires − Date, never less than 0. An invalid Expires,
// "0" above all, means already expired (RFC 9111 §5.3), and so do lines that
// contradict each other (§4.2.1).
func expiresLifetime(h Header, received time.Time) time.Duration {
	var expires time.Time
	first := true
	for i := range h {
		if !equalFold(h[i].Name, "Expires") {
			continue
		}
		at, ok := ParseDate(h[i].Value, received)
		if !ok || (!first && !at.Equal(expires)) {
			return 0
		}
		expires, first = at, false
	}
	return min(max(0, expires.Sub(responseDate(h, received))), MaxDelta*time.Second)
}

// responseDate gives the Date of a response, or when it was received.
func responseDate(h Header, received time.Time) time.Time {
	if at, ok := ParseDate(h.Get("Date"), received); ok {
		return at
	}
	return received
}

// The heuristic of RFC 9111 §4.2.2: a response is fresh for a tenth of the time
// that it had already lived unchanged, and for a day at most.
const (
	heuristicShare = 10
	maxHeuristic   = 24 * time.Hour
)

// Heuristic gives a tenth of Date − Last-Modified, capped at 24 hours, for a
// status that is heuristically cacheable or a response that is marked public
// (RFC 9111 §4.2.2), else 0. It is for a response with no explicit freshness.
// pillion does not guess by default.
func Heuristic(h Header, d *ResponseDirectives, status int, received time.Time) time.Duration {
	if !HeuristicallyCacheable(status) && !d.Public {
		return 0
	}
	modified, ok := ParseDate(h.Get("Last-Modified"), received)
	if !ok {
		return 0
	}
	return min(max(0, responseDate(h, received).Sub(modified)/heuristicShare), maxHeuristic)
}

// HeuristicallyCacheable reports whether a status may be given a heuristic
// lifetime (RFC 9110 §15.1). 206 is among them and left out: a part is stored
// with an explicit lifetime only.
func HeuristicallyCacheable(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// InitialAge gives corrected_initial_age (RFC 9111 §4.2.3): how old the response
// already was when it arrived. requested and received are when the request was
// sent and the response header arrived. It is never negative.
func InitialAge(h Header, requested, received time.Time) time.Duration {
	apparent := max(0, received.Sub(responseDate(h, received)))
	// A Date counts whole seconds, so the fraction says nothing about the age.
	apparent = min(apparent.Truncate(time.Second), MaxDelta*time.Second)
	delay := min(max(0, received.Sub(requested)), MaxDelta*time.Second)
	return max(apparent, ageValue(h)+delay)
}

// ageValue reads the Age field (RFC 9111 §5.1): the first member of the first line,
// whatever follows it, and nothing when that is no number.
func ageValue(h Header) time.Duration {
	for i := range h {
		if !equalFold(h[i].Name, "Age") {
			continue
		}
		value := h[i].Value
		if end := bytes.IndexAny(value, ",;"); end >= 0 {
			value = value[:end]
		}
		if n, ok := parseDelta(trimSpace(value)); ok {
			return time.Duration(n) * time.Second
		}
		return 0
	}
	return 0
}

// CurrentAge gives current_age (RFC 9111 §4.2.3): the age on arrival and the
// time since. A clock that is behind the one that stored, another pod's perhaps,
// counts as no time at all, so that an age never falls below initial.
func CurrentAge(initial time.Duration, received, now time.Time) time.Duration {
	return initial + min(max(0, now.Sub(received)), MaxDelta*time.Second)
}

// Fresh is response_is_fresh (RFC 9111 §4.2).
func Fresh(age, lifetime time.Duration) bool { return lifetime > age }
