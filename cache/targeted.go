package cache

// ReadDirectives gives the directives that apply to a response here: of the first
// field in targets that is present, valid and not empty, else of Cache-Control
// (RFC 9213 §2.2). Without targets it is ParseResponse.
func ReadDirectives(h Header, targets []string) ResponseDirectives {
	for _, name := range targets {
		if d, ok := parseTargeted(h, name); ok {
			return d
		}
	}
	return ParseResponse(h)
}

// parseTargeted reads a targeted field, a Dictionary of directives (RFC 9213 §2.1).
// Unlike in Cache-Control, names are in lower case only and a mistake anywhere
// voids the field.
func parseTargeted(h Header, name string) (ResponseDirectives, bool) {
	p, present := structured(h, name)
	if !present {
		return ResponseDirectives{}, false
	}
	d := ResponseDirectives{Present: true, Targeted: true}
	if !p.dictionary(d.applyMember) {
		return ResponseDirectives{}, false
	}
	return d, true
}

// applyMember takes in one member. The type of a value must be the one that the
// directive's syntax maps to (RFC 9213 §2.1); where it is not, the directive is
// taken as far as it forbids and not as far as it permits. A later member replaces
// an earlier one with its key (RFC 9651 §4.2.2).
func (d *ResponseDirectives) applyMember(key []byte, v *sfItem) {
	forbids := !(v.kind == sfBool && v.num == 0)
	switch string(key) {
	case "no-store":
		d.NoStore = forbids
	case "no-cache":
		d.NoCacheFields, d.NoCache = v.fieldNames()
	case "private":
		d.PrivateFields, d.Private = v.fieldNames()
	case "public":
		d.Public = v.isTrue()
	case "must-revalidate":
		d.MustRevalidate = forbids
	case "proxy-revalidate":
		d.ProxyRevalidate = forbids
	case "must-understand":
		d.MustUnderstand = v.isTrue()
	case "no-transform":
		d.NoTransform = forbids
	case "immutable":
		d.Immutable = v.isTrue()
	case "max-age":
		d.MaxAge = v.delta()
	case "s-maxage":
		d.SMaxAge = v.delta()
	case "stale-while-revalidate":
		d.StaleWhileRevalidate = v.delta()
	case "stale-if-error":
		d.StaleIfError = v.delta()
	}
}

// delta takes an Integer. Anything else is present and void: already stale.
func (i *sfItem) delta() Delta {
	if i.kind != sfInteger || i.num < 0 {
		return Delta{Set: true, Invalid: true}
	}
	return Delta{Seconds: min(i.num, MaxDelta), Set: true}
}

// fieldNames reads the value of no-cache or private: a String of field names, or a
// Token, which is one. Anything else but false covers the whole response.
func (i *sfItem) fieldNames() (names [][]byte, whole bool) {
	if i.kind == sfBool && i.num == 0 {
		return nil, false
	}
	if i.kind != sfString && i.kind != sfToken {
		return nil, true
	}
	names = directive{hasArg: true, arg: i.text}.fieldNames(nil, &whole)
	if whole {
		names = nil
	}
	return names, whole
}
