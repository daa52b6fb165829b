package cache

import (
	"bytes"
	"time"
)

// NotModified reports whether a stored response answers a conditional GET or
// HEAD with 304 (RFC 9110 §13.2.2, RFC 9111 §4.3.2). Only a stored success can;
// request preconditions are ignored for anything else (RFC 9110 §13.2.1).
// If-None-Match, when present, decides alone. received is when the response was
// received (Entry.StoredAt); it stands in for a missing Date. It does not
// allocate.
func NotModified(request, stored Header, status int, received time.Time) bool {
	if status < 200 || status > 299 {
		return false
	}
	if request.Has("If-None-Match") {
		return matchesAny(request, stored.Get("ETag"))
	}
	return unmodifiedSince(request, stored, received)
}

// matchesAny reports whether If-None-Match lists the tag, or is "*", which any
// stored response matches (RFC 9110 §13.1.2).
func matchesAny(request Header, etag []byte) bool {
	etag = trimSpace(etag)
	for i := range request {
		if !equalFold(request[i].Name, "If-None-Match") {
			continue
		}
		rest := trimSpace(request[i].Value)
		if len(rest) == 1 && rest[0] == '*' {
			return true
		}
		for len(rest) > 0 {
			var candidate []byte
			candidate, rest = nextETag(rest)
			if len(etag) > 0 && weakMatch(candidate, etag) {
				return true
			}
		}
	}
	return false
}

// nextETag cuts the first entity tag off a list. A backslash is an ordinary
// character in one (RFC 9110 §8.8.3), so listCursor would not do.
func nextETag(b []byte) (etag, rest []byte) {
	quoted := false
	for i, c := range b {
		if c == '"' {
			quoted = !quoted
		} else if c == ',' && !quoted {
			return trimSpace(b[:i]), b[i+1:]
		}
	}
	return trimSpace(b), nil
}

// weakMatch is the weak comparison (RFC 9110 §8.8.3.2): the opaque tags are the
// same, whether weak or not. What is no entity tag matches only itself.
func weakMatch(a, b []byte) bool {
	return bytes.Equal(opaqueTag(a), opaqueTag(b))
}

func opaqueTag(etag []byte) []byte {
	if tag, weak := bytes.CutPrefix(etag, []byte("W/")); weak && len(tag) > 0 && tag[0] == '"' {
		return tag
	}
	return etag
}

// unmodifiedSince evaluates If-Modified-Since (RFC 9110 §13.1.3) against
// Last-Modified, else Date, else when the response was received (RFC 9111
// §4.3.2). A field that is no date, or comes twice, is ignored.
func unmodifiedSince(request, stored Header, received time.Time) bool {
	var value []byte
	lines := 0
	for v := range request.Values("If-Modified-Since") {
		value, lines = v, lines+1
	}
	since, ok := ParseDate(trimSpace(value), received)
	if lines != 1 || !ok {
		return false
	}
	modified := received.Truncate(time.Second)
	for _, name := range [...]string{"Last-Modified", "Date"} {
		if at, ok := ParseDate(stored.Get(name), received); ok {
			modified = at
			break
		}
	}
	return !modified.After(since)
}

// In304 reports whether a stored field goes into a 304 (RFC 9110 §15.4.5): all
// that a 200 would have carried, except what describes the content that is not
// sent. Last-Modified goes with it where there is no ETag to tell versions apart.
func In304(name []byte, hasETag bool) bool {
	switch len(name) {
	case 6:
		return !equalFold(name, "Digest")
	case 11:
		return !equalFold(name, "Content-MD5") && !equalFold(name, "Repr-Digest")
	case 12:
		return !equalFold(name, "Content-Type")
	case 13:
		return !equalFold(name, "Content-Range") && !(hasETag && equalFold(name, "Last-Modified"))
	case 14:
		return !equalFold(name, "Content-Length") && !equalFold(name, "Content-Digest")
	case 16:
		return !equalFold(name, "Content-Encoding") && !equalFold(name, "Content-Language")
	}
	return true
}
