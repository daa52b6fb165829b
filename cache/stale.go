package cache

import "time"

// MaxStale caps what is kept beyond a lifetime: for stale use, and to be validated.
const MaxStale = 24 * time.Hour

// MarkLife gives for how long a purge mark must be kept. A fill that began before
// the purge may store an entry after it, and that lives for at most MaxTTL and
// MaxStale: the extra day is for the slowest fill.
func MarkLife(maxTTL time.Duration) time.Duration { return maxTTL + MaxStale + 24*time.Hour }

// windows gives the stale-while-revalidate and stale-if-error windows: the rule's,
// else the origin's (RFC 5861 §3, §4), and none where stale use is forbidden (RFC
// 9111 §4.2.4). An argument that cannot be read counts as 0.
func (in *Input) windows(d *ResponseDirectives, f Flags) (swr, sie time.Duration) {
	if f&(FlagMustRevalidate|FlagValidate) != 0 {
		return 0, 0
	}
	swr, sie = d.StaleWhileRevalidate.Duration(), d.StaleIfError.Duration()
	if p := in.Policy; p != nil {
		if p.StaleWhileRevalidate > 0 {
			swr = p.StaleWhileRevalidate
		}
		if p.StaleIfError > 0 {
			sie = p.StaleIfError
		}
	}
	return min(swr, MaxStale), min(sie, MaxStale)
}

// Retention gives for how long a response is kept in storage, from now: what is
// left of its lifetime (after jitter), and then the longer of its stale windows, or
// keep (Config.Keep) when it can be validated. It is at most MaxTTL + MaxStale. 0
// means that there is no use in keeping it.
func (d *Decision) Retention(lifetime, keep time.Duration) time.Duration {
	return retention(lifetime-d.Age, d.StaleWhileRevalidate, d.StaleIfError, keep, d.Validator)
}

// Retention is Decision.Retention for an entry that is stored already, such as one
// that a soft purge marks. validator says whether it can be validated.
func (e *Entry) Retention(now time.Time, keep time.Duration, validator bool) time.Duration {
	return retention(e.TTL(now), e.StaleWhileRevalidate, e.StaleIfError, keep, validator)
}

// retention counts the windows from the end of the lifetime, be it past already.
func retention(left, swr, sie, keep time.Duration, validator bool) time.Duration {
	kept := max(left+min(max(swr, sie), MaxStale), 0)
	if validator { // what was stale on arrival is kept for as long
		kept = max(kept, max(left, 0)+min(keep, MaxStale))
	}
	return kept
}

// Use says what a request may do with a stored response.
type Use uint8

// The uses, from the freest.
const (
	// UseFresh: serve it.
	UseFresh Use = iota
	// UseStale: serve it; it is stale and the client accepts that (max-stale, RFC
	// 9111 §5.2.1.2).
	UseStale
	// UseAndRefresh: serve it, and fetch a fresh one in the background
	// (stale-while-revalidate, RFC 5861 §3).
	UseAndRefresh
	// UseStaleValidate: it is stale (RFC 9111 §4.2.4): validate it, or fetch anew.
	UseStaleValidate
	// UseValidate: it is fresh, but the response or the request demands to validate
	// it first (no-cache, max-age, min-fresh: RFC 9111 §5.2.1, §5.2.2.4).
	UseValidate
)

// Served reports whether the response may be served before anybody is asked.
func (u Use) Served() bool { return u <= UseAndRefresh }

// Use says what a request with the given directives may do with the entry at now
// (RFC 9111 §4). It does not look at Vary, Authorization or purges. It does not
// allocate.
func (e *Entry) Use(now time.Time, d *RequestDirectives) Use {
	age, ttl := e.Age(now), e.TTL(now)
	asked := d.NoCache || (d.MaxAge.Set && age > d.MaxAge.Duration()) || (d.MinFresh.Set && ttl < d.MinFresh.Duration())
	switch {
	case ttl > 0 && (asked || e.Flags&FlagValidate != 0):
		return UseValidate
	case ttl > 0:
		return UseFresh
	case asked || e.Flags&(FlagValidate|FlagMustRevalidate) != 0:
		return UseStaleValidate
	case d.MaxStaleAny && !d.MaxStale.Set || d.MaxStale.Set && -ttl <= d.MaxStale.Duration():
		// A soft purge says that there is something newer, whatever a client accepts.
		if e.SoftPurgedAt == 0 {
			return UseStale
		}
	}
	if e.StaleWhileRevalidate > 0 && -ttl <= e.StaleWhileRevalidate {
		return UseAndRefresh
	}
	return UseStaleValidate
}

// Failure says how a request to the origin failed.
type Failure uint8

// The failures. What is none of these is an answer, and replaces the stored one.
const (
	// FailureNone: the origin answered.
	FailureNone Failure = iota
	// FailureConnect: the origin could not be reached, or sent no whole response.
	FailureConnect
	// FailureTimeout: it did not answer in time.
	FailureTimeout
	// FailureStatus: it answered 500, 502, 503 or 504 (RFC 5861 §4).
	FailureStatus
)

// FailureOf gives the failure that a status stands for.
func FailureOf(status int) Failure {
	switch status {
	case 500, 502, 503, 504:
		return FailureStatus
	}
	return FailureNone
}

// MayServeOnFailure reports whether the entry may be served because the origin
// failed (stale-if-error, RFC 5861 §4). A request that names a window of its own
// can only shorten the entry's: the longer is not kept. Its max-age and min-fresh
// do not matter then, but its no-cache does. It does not allocate.
func (e *Entry) MayServeOnFailure(now time.Time, d *RequestDirectives, f Failure) bool {
	if f == FailureNone || d.NoCache || e.Flags&FlagValidate != 0 {
		return false
	}
	ttl := e.TTL(now)
	if ttl > 0 {
		return true // fresh: the request wanted it fresher, and that cannot be had
	}
	window := e.StaleIfError
	if d.StaleIfError.Set {
		window = min(window, d.StaleIfError.Duration())
	}
	return e.Flags&FlagMustRevalidate == 0 && window > 0 && -ttl <= window
}
