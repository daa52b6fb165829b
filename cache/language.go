package cache

import "bytes"

// PreferredLanguage appends to dst, in lower case, the one language that an
// Accept-Language prefers to all others (RFC 9110 §12.5.4), and is false where there
// is none: several of the greatest weight, "*", or a weight that cannot be read. A
// response in that language suits the client whatever else it would accept, so that
// a variant chosen for another Accept-Language may be used: the one whose
// Content-Language it is. It does not allocate when dst has room.
func PreferredLanguage(dst, accept []byte) ([]byte, bool) {
	var best []byte
	greatest := 0
	c := listCursor{rest: accept}
	for e, ok := c.next(); ok; e, ok = c.next() {
		weight, ok := weightOf(e)
		if !ok {
			return dst, false
		}
		switch {
		case weight > greatest:
			best, _, _ = bytes.Cut(e, []byte{';'})
			greatest = weight
		case weight == greatest:
			best = nil
		}
	}
	return appendLanguage(dst, best)
}

// ContentLanguage appends to dst, in lower case, the language of a response, and is
// false unless it has exactly one (RFC 9110 §8.5).
func ContentLanguage(dst []byte, h Header) ([]byte, bool) {
	var language []byte
	n := 0
	for e := range h.List("Content-Language") {
		language, n = e, n+1
	}
	if n != 1 {
		return dst, false
	}
	return appendLanguage(dst, language)
}

// appendLanguage appends a language tag, which is letters, digits and "-".
func appendLanguage(dst, tag []byte) ([]byte, bool) {
	tag = trimSpace(tag)
	for _, c := range tag {
		if !isDigit(c) && c != '-' && (lower(c) < 'a' || lower(c) > 'z') {
			return dst, false
		}
	}
	for _, c := range tag {
		dst = append(dst, lower(c))
	}
	return dst, len(tag) > 0
}

// weightOf gives the weight of an element in thousandths (RFC 9110 §12.4.2).
func weightOf(e []byte) (int, bool) {
	_, params, has := bytes.Cut(e, []byte{';'})
	if !has {
		return 1000, true
	}
	params = trimSpace(params)
	if len(params) < 3 || lower(params[0]) != 'q' || params[1] != '=' || len(params) > len("q=0.000") {
		return 0, false
	}
	whole, fraction, _ := bytes.Cut(params[2:], []byte{'.'})
	if len(whole) != 1 || (whole[0] != '0' && whole[0] != '1') {
		return 0, false
	}
	weight := int(whole[0]-'0') * 1000
	for i, scale := 0, 100; i < len(fraction); i, scale = i+1, scale/10 {
		if !isDigit(fraction[i]) {
			return 0, false
		}
		weight += int(fraction[i]-'0') * scale
	}
	return weight, weight <= 1000
}
