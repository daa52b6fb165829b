package pillion

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pillion-proxy/pillion/sessioncheck"
)

func (v *validator) session() {
	s := v.cfg.Session
	if s.Format != "json" {
		v.add("session.format", s.Format, orEmpty(s.Format, "is not a supported session format"), "write json, the only format so far")
	}
	v.sessionKey(s.Key)
	v.positive("session.ttl", s.TTL)
	v.positive("session.retry_after", s.RetryAfter)
	if s.User == "" {
		v.add("session.user", "", "is empty", "name the session field that identifies the user, such as user_id")
	}
	v.sources(s)
	v.identity(s.Identity)
	v.sessionResult(&s)
}

func (v *validator) sessionKey(key string) {
	const remedy = `write the Redis key with {id} in the place of the session's id, such as "session:{id}"`
	if !v.bounded("session.key", key, remedy) {
		return
	}
	switch n := strings.Count(key, "{id}"); {
	case n == 0:
		v.add("session.key", key, "does not have {id} in it", remedy)
	case n > 1:
		v.add("session.key", key, "has {id} in it more than once", remedy)
	}
}

func (v *validator) sources(s sessioncheck.Config) {
	if len(s.Sources) == 0 {
		v.add("session.sources", "", "is an empty list", "name where the session id is, such as [{cookie: session_id}]")
	}
	seen := map[sessioncheck.Source]int{}
	for i, src := range s.Sources {
		key := fmt.Sprintf("session.sources[%d]", i)
		v.source(key, src)
		same := sessioncheck.Source{Header: strings.ToLower(src.Header), Cookie: src.Cookie}
		if first, twice := seen[same]; twice && src != (sessioncheck.Source{}) {
			v.add(key, "", fmt.Sprintf("is the same as session.sources[%d]", first), "remove one of the two")
		}
		seen[same] = i
	}
}

func (v *validator) source(key string, src sessioncheck.Source) {
	switch {
	case src.Header == "" && src.Cookie == "":
		v.add(key, "", "has neither header nor cookie", "write {header: X-Session-ID} or {cookie: session_id}")
	case src.Header != "" && src.Cookie != "":
		v.add(key, "", "has both header and cookie", "write two entries, in the order in which to try them")
	case src.Cookie != "":
		if !isToken(src.Cookie) {
			v.add(key+".cookie", src.Cookie, "is not a valid cookie name", "write letters, digits, - and _ only")
		}
	case strings.EqualFold(src.Header, "Cookie"):
		v.add(key+".header", src.Header, "is the field that holds cookies", "write {cookie: NAME} for a session id in a cookie")
	case v.headerName(key+".header", src.Header):
		v.notIdentity(key+".header", src.Header)
	}
}

// notIdentity: an identity header is removed from every request, the session id
// with it.
func (v *validator) notIdentity(key, name string) {
	v.notIdentityOf(key, name, "use another header for one of the two")
}

func (v *validator) notIdentityOf(key, name, remedy string) {
	headers := v.cfg.Session.IdentityHeaders()
	for _, identity := range slices.Sorted(maps.Keys(headers)) {
		if headerTwin(identity) == headerTwin(name) {
			v.add(key, name, fmt.Sprintf("is also in %s, as %q, and is removed from requests", headers[identity], identity), remedy)
		}
	}
}

func (v *validator) identity(identity map[string]string) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(identity)) {
		key := keyPath("session.identity", name)
		v.headerName(key, name)
		if identity[name] == "" {
			v.add(key, "", "is empty", "name the session field that the header carries, such as user_id")
		}
		if first, twice := seen[headerTwin(name)]; twice {
			v.add(key, "", fmt.Sprintf("is the header %q again: case, - and _ do not tell header names apart", first), "remove one of the two")
		}
		seen[headerTwin(name)] = name
	}
}

// headerTwin gives what CGI-like applications see of a header name: they turn
// X-User-Id and x_user_id into one variable.
func headerTwin(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

func (v *validator) headerName(key, name string) bool {
	switch {
	case !isToken(name):
		v.add(key, name, "is not a valid header name", "write letters, digits and hyphens only, such as X-User-Id")
	case slices.Contains(reservedHeaders(), headerTwin(name)):
		v.add(key, name, "is a header that the protocol itself uses", "use a name of your own, such as X-User-Id")
	default:
		return true
	}
	return false
}

// reservedHeaders lists the fields that say how a message is framed, routed or
// cached (RFC 9110, RFC 9112, RFC 9111), and those that the proxy itself sets.
func reservedHeaders() []string {
	return []string{
		"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
		"transfer-encoding", "upgrade", "host", "content-length", "content-type", "content-encoding", "content-range",
		"expect", "date", "cookie", "set-cookie", "range", "if-match", "if-none-match", "if-modified-since",
		"if-unmodified-since", "if-range", "cache-control", "pragma", "vary", "via", "forwarded", "x-forwarded-for",
		"x-forwarded-host", "x-forwarded-proto",
	}
}

// isToken says whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for _, c := range s {
		if c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) {
			return false
		}
	}
	return s != ""
}
