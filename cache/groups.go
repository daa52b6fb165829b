package cache

// The bounds of cache groups. RFC 9875 §2 asks for 32 groups of 32 characters at
// least.
const (
	MaxGroups   = 64
	MaxGroupLen = 128
)

// MaxTags bounds the tags of one response: those of its rule, its surrogate tags and
// its groups together. Each costs a look at its purge mark with every hit.
const MaxTags = 128

// AppendGroups appends the groups of a response (Cache-Groups, RFC 9875 §2), as
// copies. A field that is no List of Strings counts as absent (RFC 9651 §4.2). It is
// false, with dst as it was, for more or longer groups than the bounds allow: a
// response that its groups do not all cover could not be invalidated by them, so it
// must not be stored.
func AppendGroups(dst [][]byte, h Header) ([][]byte, bool) {
	return appendStrings(dst, h, "Cache-Groups")
}

// AppendInvalidatedGroups appends the groups that a response invalidates
// (Cache-Group-Invalidation, RFC 9875 §3), as copies: none when the request's method
// is safe. It is false for more or longer groups than the bounds allow, and then
// gives those that fit: those can be invalidated at least.
func AppendInvalidatedGroups(dst [][]byte, method string, h Header) ([][]byte, bool) {
	if SafeMethod(method) {
		return dst, true
	}
	return appendFitting(dst, h, "Cache-Group-Invalidation")
}

func appendStrings(dst [][]byte, h Header, name string) ([][]byte, bool) {
	out, ok := appendFitting(dst, h, name)
	if !ok {
		return dst, false
	}
	return out, true
}

// appendFitting appends the members that fit, none twice, and reports whether all
// did. An empty string is a group too, but no tag could stand for it: it is dropped.
func appendFitting(dst [][]byte, h Header, name string) ([][]byte, bool) {
	out, fits, strings := dst, true, true
	p, present := structured(h, name)
	if !present || !p.ok {
		return dst, !present // too long to be read is not the same as malformed
	}
	valid := p.list(func(v *sfItem) {
		switch {
		case v.kind != sfString:
			strings = false
		case len(v.text) == 0 || contains(out[len(dst):], v.text):
		case len(v.text) > MaxGroupLen || len(out)-len(dst) == MaxGroups:
			fits = false
		default:
			out = append(out, append([]byte(nil), v.text...))
		}
	})
	if p.left < 0 {
		return dst, false
	}
	if !valid || !strings {
		return dst, true
	}
	return out, fits
}

func contains(list [][]byte, b []byte) bool {
	for _, e := range list {
		if string(e) == string(b) {
			return true
		}
	}
	return false
}

// AppendGroupTag appends the tag that stands for a group of an origin: groups of one
// name at different origins are different (RFC 9875 §2.1). It has the form
// "g|host|group"; no host holds a "|", so that no two groups share a tag. The scheme
// is not part of it, as it is not part of a key. A rule's tag of that form names the
// group. authority is the effective one.
func AppendGroupTag(dst, authority, group []byte) []byte {
	dst = append(dst, "g|"...)
	for _, c := range withoutPort(withoutPort(authority, ":80"), ":443") {
		dst = append(dst, lower(c))
	}
	return append(append(dst, '|'), group...)
}

// AppendSurrogateTags appends the tags that the fields with the given names hold
// (Config.TagFields: Cache-Tag, Surrogate-Key, xkey), as copies: words between
// spaces, tabs and commas, none twice. They are the same tags as those of rules. It
// is false, with dst as it was, when one is longer than MaxTag or there are more than
// MaxTags: a response that lost a tag could not be purged by it, so it must not be
// stored.
func AppendSurrogateTags(dst [][]byte, h Header, fields []string) ([][]byte, bool) {
	out := dst
	for i := range h {
		if !isOneOf(h[i].Name, fields) {
			continue
		}
		for rest := h[i].Value; len(rest) > 0; {
			n := 0
			for n < len(rest) && rest[n] != ',' && !isSpace(rest[n]) {
				n++
			}
			tag := rest[:n]
			rest = rest[min(n+1, len(rest)):]
			if n == 0 || contains(out[len(dst):], tag) {
				continue
			}
			if n > MaxTag || len(out)-len(dst) == MaxTags {
				return dst, false
			}
			out = append(out, append([]byte(nil), tag...))
		}
	}
	return out, true
}

func isOneOf(name []byte, names []string) bool {
	for _, n := range names {
		if equalFold(name, n) {
			return true
		}
	}
	return false
}
