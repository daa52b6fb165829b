package proxy

import (
	"bytes"
	"strings"

	"github.com/pillion-proxy/pillion/cache"
)

// appendAppTarget appends path and query as the application gets them, and says
// whether the rule's prefix was taken off.
func (x *exchange) appendAppTarget(b []byte) (_ []byte, stripped bool) {
	path, rw := x.path, &x.route.rewrite
	if len(path) > 0 && path[0] == '/' { // not "*"
		path, stripped = rw.strip(path)
		b = append(b, rw.AddPrefix...)
	}
	b = append(b, path...)
	if x.hasQuery {
		b = append(b, '?')
		b = append(b, x.query...)
	}
	return b, stripped
}

// strip takes the prefix off, where it ends with a segment. At least "/" is left.
func (rw *Rewrite) strip(path []byte) (_ []byte, stripped bool) {
	p := rw.StripPrefix
	switch {
	case p == "" || len(path) < len(p) || string(path[:len(p)]) != p:
		return path, false
	case len(path) == len(p):
		return []byte("/"), true
	case path[len(p)] != '/':
		return path, false
	}
	return path[len(p):], true
}

const prefixField = "X-Forwarded-Prefix"

// appendPrefix tells the application what was taken off its path, so that it can
// write links: by a trusted proxy in front, then here. What the client sent is left out
// of a fetch that others share, as proxies commonly pass that on unread.
func (x *exchange) appendPrefix(b []byte, stripped, plain bool) []byte {
	var given []byte
	if !plain || x.scope != cache.ScopePublic || x.inKey([]byte(prefixField)) {
		given = x.givenPrefix()
	}
	if given == nil && !stripped {
		return b
	}
	b = append(append(b, prefixField...), ": "...)
	b = append(b, given...)
	if stripped {
		b = append(b, x.route.rewrite.StripPrefix...)
	}
	return append(b, '\r', '\n')
}

// givenPrefix is what a trusted proxy took off, without a slash at its end; nil for
// nothing.
func (x *exchange) givenPrefix() []byte {
	given := x.given(x.hasKind(kindPrefix) && x.snap.trusts(x.clientAddr()), kindPrefix)
	if given = bytes.TrimRight(given, "/"); len(given) == 0 {
		return nil
	}
	return given
}

// checkRewrite gives the mistakes in a rewrite. Whether it fits the path of the rule is
// looked at only when that has no mistake of its own.
func (c *ruleCheck) rewrite(rw Rewrite, path string, pathIsGood bool) {
	c.prefix("rewrite.strip_prefix", rw.StripPrefix)
	c.prefix("rewrite.add_prefix", rw.AddPrefix)
	if c.found() || !pathIsGood || rw.StripPrefix == "" || path == "" || literalPrefix(path, rw.StripPrefix) {
		return
	}
	c.add("rewrite.strip_prefix", rw.StripPrefix, "is not how match.path "+path+" begins",
		"write leading segments of match.path that have no *, ** or {name}")
}

// prefix checks that a prefix is a path in its one form, without a slash at the end.
func (c *ruleCheck) prefix(field, prefix string) {
	const remedy = "write a path such as /api"
	if prefix == "" {
		return
	}
	path, odd, r := canonicalPath(nil, []byte(prefix))
	switch {
	case prefix[0] != '/':
		c.add(field, prefix, `does not begin with "/"`, "write /"+prefix)
	case strings.ContainsAny(prefix, "?#"):
		c.add(field, prefix, "has a query or a fragment", "write its path alone")
	case r != nil || odd != 0:
		c.add(field, prefix, "is not a path that could be told from others: it has a dot segment, an empty segment or an escape that hides a separator", remedy)
	case prefix[len(prefix)-1] == '/':
		c.add(field, prefix, `ends with "/"`, orNothing(strings.TrimRight(prefix, "/")))
	case string(path) != prefix:
		c.add(field, prefix, "is not in the form in which paths are compared", "write "+string(path))
	}
}

func orNothing(prefix string) string {
	if prefix == "" {
		return "remove it"
	}
	return "write " + prefix
}

// literalPrefix says whether the pattern begins with the segments of the prefix.
func literalPrefix(pattern, prefix string) bool {
	want, have := strings.Split(prefix, "/"), strings.Split(pattern, "/")
	if len(have) < len(want) {
		return false
	}
	for i := range want {
		literal, _, r := canonicalPath(nil, []byte(have[i]))
		if r != nil || string(literal) != want[i] || strings.ContainsAny(have[i], "*{") {
			return false
		}
	}
	return true
}
