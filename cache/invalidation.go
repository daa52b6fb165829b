package cache

import "bytes"

// SafeMethod reports whether a method is registered as safe (RFC 9110 §9.2.1), so
// that its responses invalidate nothing. Methods that are not known are not safe.
func SafeMethod(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY":
		return true
	}
	return false
}

// Invalidates reports whether a response to a request invalidates what is stored
// for its target (RFC 9111 §4.4): when the method is not safe, and the response is
// no error. 2xx and 3xx are none.
func Invalidates(method string, status int) bool {
	return !SafeMethod(method) && status >= 200 && status <= 399
}

// Target is what an invalidation is about: path and query as they stand in a URI,
// not in the canonical form yet.
type Target struct {
	Path, Query []byte
	HasQuery    bool
}

// AppendTargets appends the targets that a response invalidates: the request's own,
// and those that Location and Content-Location name, when they have the same origin
// (RFC 9111 §4.4). authority is the effective one, with its port if it has one. http
// and https count as one origin, as they share the key. A field that comes twice
// counts once, the first. There are at most three, none twice.
func AppendTargets(dst []Target, own Target, authority []byte, response Header) []Target {
	start := len(dst)
	dst = append(dst, own)
	for _, name := range [...]string{"Location", "Content-Location"} {
		if !response.Has(name) {
			continue
		}
		t, ok := resolve(trimSpace(response.Get(name)), own, authority)
		known := !ok
		for _, o := range dst[start:] {
			known = known || o.equal(t)
		}
		if !known {
			dst = append(dst, t)
		}
	}
	return dst
}

func (t Target) equal(o Target) bool {
	return o.HasQuery == t.HasQuery && bytes.Equal(o.Path, t.Path) && bytes.Equal(o.Query, t.Query)
}

// ContentLocationIsTarget reports whether Content-Location names the target of the
// request itself. The response to a POST that says so, with explicit freshness, may
// answer a later GET (RFC 9110 §9.3.3).
func ContentLocationIsTarget(own Target, authority []byte, response Header) bool {
	if !response.Has("Content-Location") {
		return false
	}
	t, ok := resolve(trimSpace(response.Get("Content-Location")), own, authority)
	return ok && t.equal(own)
}

// resolve resolves a reference against a target (RFC 3986 §5.2). It is false for a
// reference with another origin, or one that cannot be read.
func resolve(ref []byte, base Target, authority []byte) (Target, bool) {
	ref, _, _ = bytes.Cut(ref, []byte{'#'})
	for _, c := range ref {
		if c <= ' ' || c == 0x7f || c == '\\' {
			return Target{}, false
		}
	}
	scheme := schemeOf(ref)
	if scheme != nil {
		ref = ref[len(scheme)+1:]
		if !bytes.HasPrefix(ref, []byte("//")) {
			return Target{}, false
		}
	}
	hasAuthority := bytes.HasPrefix(ref, []byte("//"))
	if hasAuthority {
		ref = ref[2:]
		end := bytes.IndexAny(ref, "/?")
		if end < 0 {
			end = len(ref)
		}
		if !sameAuthority(ref[:end], authority, scheme) {
			return Target{}, false
		}
		ref = ref[end:]
	}
	return resolvePath(ref, base, hasAuthority), true
}

func resolvePath(ref []byte, base Target, hasAuthority bool) Target {
	path, query, hasQuery := bytes.Cut(ref, []byte{'?'})
	switch {
	case len(path) == 0 && hasAuthority:
		path = []byte{'/'}
	case len(path) == 0 && !hasQuery:
		return base
	case len(path) == 0:
		return Target{Path: base.Path, Query: query, HasQuery: true}
	case path[0] != '/':
		merged := append([]byte(nil), base.Path[:bytes.LastIndexByte(base.Path, '/')+1]...)
		if len(merged) == 0 {
			merged = append(merged, '/')
		}
		path = append(merged, path...)
	}
	return Target{Path: removeDots(path), Query: query, HasQuery: hasQuery}
}

// schemeOf gives the scheme that a reference begins with, or nil (RFC 3986 §3.1).
func schemeOf(ref []byte) []byte {
	for i, c := range ref {
		letter := lower(c) >= 'a' && lower(c) <= 'z'
		switch {
		case c == ':' && i > 0:
			return ref[:i]
		case !letter && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.'):
			return nil
		}
	}
	return nil
}

// sameAuthority compares hosts without regard to case. A port that is the scheme's
// own counts as none (RFC 9110 §4.2.3). User information is of no origin here.
func sameAuthority(a, b, scheme []byte) bool {
	port := ":80"
	switch {
	case equalFold(scheme, "https"):
		port = ":443"
	case scheme != nil && !equalFold(scheme, "http"):
		return false
	}
	a, b = withoutPort(a, port), withoutPort(b, port)
	return len(a) > 0 && equalFoldBytes(a, b)
}

func withoutPort(b []byte, port string) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(b, []byte{':'}), []byte(port))
}

// removeDots is remove_dot_segments (RFC 3986 §5.2.4) for an absolute path. The
// result is a copy, or path itself when nothing is to be removed.
func removeDots(path []byte) []byte {
	if !bytes.Contains(path, []byte("/.")) {
		return path
	}
	out := make([]byte, 0, len(path))
	for rest := path; len(rest) > 0; {
		end := bytes.IndexByte(rest[1:], '/') + 1
		if end == 0 {
			end = len(rest)
		}
		segment := rest[:end]
		last := end == len(rest)
		switch string(segment) {
		case "/.":
		case "/..":
			out = out[:max(0, bytes.LastIndexByte(out, '/'))]
		default:
			out = append(out, segment...)
			last = false
		}
		if last {
			out = append(out, '/')
		}
		rest = rest[end:]
	}
	return out
}
