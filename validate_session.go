package pillion

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

func (v *validator) session() {
	s := v.cfg.Session
	v.sessionFormat(s)
	v.sessionKey(s.Key)
	v.positive("session.ttl", s.TTL)
	v.positive("session.retry_after", s.RetryAfter)
	if f := formats.Lookup(s.Format); s.User == "" && (f == nil || !f.PresenceOnly) {
		v.add("session.user", "", "is empty", "name the session field that identifies the user, such as user_id")
	}
	v.sources(s)
	v.identity(s.Identity)
	v.lifecycle()
	v.sessionResult(&s)
}

// sessionFormat checks what depends on the format.
func (v *validator) sessionFormat(s sessioncheck.Config) {
	f := formats.Lookup(s.Format)
	if f == nil {
		v.add("session.format", s.Format, orEmpty(s.Format, "is not a supported session format"), "write "+orList(formats.Names()))
		return
	}
	v.sessionSecrets(f, s.Secrets)
	for i, path := range s.Login {
		if slices.Contains(strings.Split(path, "."), "") {
			v.add(v.element("session.login", i), path, orEmpty(path, "is not a field's path"), "write names with dots between them, such as passport.user")
		}
	}
	if f.PresenceOnly {
		v.nothingRead("session.login", len(s.Login) > 0)
		v.nothingRead("session.identity", len(s.Identity) > 0)
		v.nothingRead("session.user", s.User != "")
		for i, r := range v.cfg.Rules {
			rule := v.element("rules", i)
			v.nothingRead(rule+".session.require", len(r.Session.Require) > 0)
			v.nothingRead(rule+".cache.key.session", len(r.Cache.Key.Session) > 0)
		}
	}
	if f.NoRenewal && s.Sliding {
		v.add("session.sliding", "true", fmt.Sprintf("does not keep sessions of the format %s alive: only the application can", f.Name), "write false")
	}
}

// sessionSecrets: a secret is never shown, so its place in the list must tell it apart.
func (v *validator) sessionSecrets(f *formats.Format, secrets []string) {
	switch {
	case f.Secrets == formats.RequiredSecrets && len(secrets) == 0:
		v.add("session.secrets", "", fmt.Sprintf("is empty, but cookies of the format %s are signed", f.Name),
			`list the application's secrets, such as ["file:/run/secrets/session"], the current one first`)
	case f.Secrets == formats.NoSecrets && len(secrets) > 0:
		v.add("session.secrets", "", fmt.Sprintf("has no use with the format %s, whose cookies are not signed", f.Name), "remove it")
		return
	}
	for i, secret := range secrets {
		key := v.element("session.secrets", i)
		if secret == "" {
			v.add(key, "", "is empty", "write the secret, or remove the entry")
		} else if _, err := f.Verifier([]string{secret}, ""); err != nil {
			v.add(key, secret, err.Error(), "write the secret as the application has it, such as APP_KEY with its base64: in front")
		}
	}
}

func (v *validator) nothingRead(key string, set bool) {
	if set {
		v.add(key, "", fmt.Sprintf("has no field to name: of the format %s only the presence of a session counts", v.cfg.Session.Format), "remove it, or write another session.format")
	}
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
		same := sessioncheck.Source{Header: strings.ToLower(src.Header), Cookie: src.Cookie, Bearer: src.Bearer}
		if first, twice := seen[same]; twice && src != (sessioncheck.Source{}) {
			v.add(key, "", fmt.Sprintf("is the same as session.sources[%d]", first), "remove one of the two")
		}
		seen[same] = i
	}
}

func (v *validator) source(key string, src sessioncheck.Source) {
	switch {
	case src.Bearer:
		if src.Header != "" || src.Cookie != "" {
			v.add(key, "", "has bearer beside a header or cookie", "write two entries, in the order in which to try them")
		}
		v.notIdentity(key+".bearer", "Authorization")
	case src.Header == "" && src.Cookie == "":
		v.add(key, "", "has neither header nor cookie", "write {header: X-Session-ID}, {cookie: session_id} or {bearer: true}")
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
