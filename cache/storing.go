package cache

// overrides reports whether the rule's lifetime wins over the origin's no-cache.
func (in *Input) overrides() bool {
	p := in.Policy
	if p == nil || !p.Override {
		return false
	}
	if ttl, ok := p.StatusTTL[in.Status]; ok {
		return ttl > 0
	}
	return p.TTL > 0 && successful(in.Status)
}

// validatable reports whether the stored response could be validated: it has a
// validator, and a status for which an origin evaluates preconditions (RFC 9110
// §13.2.1).
func (in *Input) validatable() bool {
	if in.Status < 200 || in.Status > 299 {
		return false
	}
	if in.Policy != nil {
		if ttl, ok := in.Policy.StatusTTL[in.Status]; ok && ttl <= 0 {
			return false
		}
	}
	return ValidatorsOf(in.Response, in.Received).Any()
}

// storableUnasked reports whether a response may be stored although it says
// nothing of its freshness: the last item of RFC 9111 §3.
func (in *Input) storableUnasked(d *ResponseDirectives) bool {
	return d.Public || d.NoCache || HeuristicallyCacheable(in.Status)
}

func isSetCookie(name []byte) bool {
	return equalFold(name, "Set-Cookie") || equalFold(name, "Set-Cookie2")
}

// cookieAllowed reports whether a cookie is no obstacle: the rule strips or stores
// it, or the origin says to leave it out by private="set-cookie" or
// no-cache="set-cookie".
func (in *Input) cookieAllowed(d *ResponseDirectives, name []byte) bool {
	if in.Policy != nil && (in.Policy.SetCookie == CookieStrip || in.Policy.SetCookie == CookieStore) {
		return true
	}
	return in.Validates && (named(d.PrivateFields, name) || named(d.NoCacheFields, name))
}

// omitted gives the fields that are not stored with a response: those of
// private="…", which are for one user (RFC 9111 §5.2.2.7), those of no-cache="…",
// which would need validation before each use (§5.2.2.4), and stripped cookies.
func (in *Input) omitted(d *ResponseDirectives) [][]byte {
	strip := in.Policy != nil && in.Policy.SetCookie == CookieStrip
	if !strip && len(d.PrivateFields)+len(d.NoCacheFields) == 0 {
		return nil
	}
	omit := append([][]byte(nil), d.PrivateFields...)
	for _, name := range d.NoCacheFields {
		// A rule that overrides no-cache does not override what keeps cookies out.
		if !in.overrides() || isSetCookie(name) {
			omit = append(omit, name)
		}
	}
	if strip {
		omit = append(omit, []byte("set-cookie"), []byte("set-cookie2"))
	}
	return omit
}

// forbiddenByType guards against cache deception: /account/x.css that an
// application answers like /account would be stored for everybody. What others can
// read must be what its extension says.
func (in *Input) forbiddenByType() Reason {
	if in.Scope == ScopeUser || in.Scope == ScopeSession || in.Status < 200 || in.Status > 299 {
		return ""
	}
	if in.Policy != nil && in.Policy.MatchType == ModeOff {
		return ""
	}
	if !TypeAgrees(in.Path, in.Response.Get("Content-Type")) {
		return ReasonDeception
	}
	return ""
}
