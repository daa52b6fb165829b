package sessioncheck

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// OnMissing is the answer to a request that needs a session and has none.
type OnMissing struct {
	// Status is the answer to what is no navigation of a browser: 401.
	Status int `yaml:"status" env:"STATUS"`
	// Redirect is the path, with a query perhaps, to which a browser that navigates is
	// sent; {uri} in its query is where it wanted to go. Empty: nobody is redirected.
	Redirect string `yaml:"redirect" env:"REDIRECT"`
}

// maxIdentityJSON bounds the JSON that goes into one header.
const maxIdentityJSON = 4 << 10

// addResult takes what follows from a check into the schema.
func (sc *schema) addResult(cfg *Config) {
	if cfg.AbsoluteTimeout > 0 {
		sc.timeout = absoluteTimeout{cfg.AbsoluteTimeout.Milliseconds(), strings.Split(cfg.CreatedField, ".")}
	}
	sc.jsonHeader, sc.signer, sc.strip = cfg.IdentityJSON, newSigner(&cfg.JWT), cfg.Strip
	for _, name := range cfg.resultHeaders() {
		sc.identityNames = append(sc.identityNames, normalName(name))
	}
}

// resultHeaders lists the identity headers beside those of Identity.
func (c *Config) resultHeaders() (names []string) {
	if c.IdentityJSON != "" {
		names = append(names, c.IdentityJSON)
	}
	if c.JWT.Key != "" {
		names = append(names, c.JWT.Header)
	}
	return names
}

// IdentityHeaders maps each header that clients can never set to the setting that
// names it.
func (c *Config) IdentityHeaders() map[string]string {
	out := make(map[string]string)
	for name := range c.Identity {
		out[name] = "session.identity"
	}
	if c.JWT.Key != "" {
		out[c.JWT.Header] = "session.jwt.header"
	}
	if c.IdentityJSON != "" {
		out[c.IdentityJSON] = "session.identity_json"
	}
	return out
}

// renderResult decodes what addResult asked for. omitted counts what is left out.
func (sc *schema) renderResult(s *Session, doc map[string]any) (omitted int) {
	s.deadline = sc.timeout.deadlineOf(doc)
	s.claims = sc.signer.claimsOf(doc)
	if sc.jsonHeader == "" {
		return 0
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if enc.Encode(doc) != nil || text.Len()-1 > maxIdentityJSON {
		return 1
	}
	s.identity = append(append(s.identity, sc.jsonHeader...), ": "...)
	s.identity = base64.StdEncoding.AppendEncode(s.identity, bytes.TrimSuffix(text.Bytes(), []byte{'\n'}))
	s.identity = append(s.identity, "\r\n"...)
	return 0
}

// Challenge is the WWW-Authenticate lines of a 401 (RFC 9110, section 11.6.1).
func (c *Checker) Challenge() string {
	const session = "WWW-Authenticate: Session\r\n"
	if slices.ContainsFunc(c.sources, func(s source) bool { return s.header && s.name == authorization }) {
		return session + "WWW-Authenticate: Bearer\r\n"
	}
	return session
}

const authorization = "authorization"

// fromCookie says whether the source that counts is a cookie.
func fromCookie(sources []source, all []found) bool {
	for i := range sources {
		if all[i].present {
			return !sources[i].header
		}
	}
	return false
}

// idHeaders are the headers that hold an id, in their normal form.
func idHeaders(sources []source) (names []string) {
	for _, s := range sources {
		if s.header {
			names = append(names, normalName(s.name))
		}
	}
	return names
}

// Strips says whether the session's id is kept from the application.
func (c *Checker) Strips() bool { return c.schema.strip }

// AppendWithout appends what is left of a field line when the session's id is taken
// out, as a line or as nothing; other cookies stay byte for byte. It is false, and
// appends nothing, for a line that holds no id.
func (c *Checker) AppendWithout(dst, name, value []byte) ([]byte, bool) {
	if equalFold(name, "cookie") {
		return c.appendCookies(dst, name, value)
	}
	for _, normal := range c.idHeaders {
		if !equalNormal(name, normal) {
			continue
		}
		if normal == authorization && (len(value) < 7 || !equalFold(value[:7], "bearer ")) {
			continue // of another scheme
		}
		return dst, true
	}
	return dst, false
}

func (c *Checker) appendCookies(dst, name, line []byte) ([]byte, bool) {
	begin, held, first := len(dst), false, true
	for rest := line; len(rest) > 0; {
		pair := rest
		if i := bytes.IndexByte(rest, ';'); i >= 0 {
			pair, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		switch {
		case c.isCookie(pair):
			held = true
		case !first:
			dst = append(append(dst, ';'), pair...)
		case len(trim(pair)) > 0:
			dst = append(append(append(dst, name...), ": "...), bytes.TrimLeft(pair, " \t")...)
			first = false
		}
	}
	switch {
	case !held:
		return dst[:begin], false
	case !first:
		dst = append(dst, "\r\n"...)
	}
	return dst, true
}

// isCookie reads a cookie's name as scanCookies does.
func (c *Checker) isCookie(pair []byte) bool {
	i := bytes.IndexByte(pair, '=')
	if i < 0 {
		return false
	}
	name := trim(pair[:i])
	for j := range c.sources {
		if s := &c.sources[j]; !s.header && string(name) == s.name {
			return true
		}
	}
	return false
}

// checkResultHeaders checks the names of the headers that addResult adds.
func (c *Config) checkResultHeaders(ps *Problems) {
	seen := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(c.Identity)) {
		seen[normalName(name)] = true
	}
	for _, h := range []struct {
		field, name string
		on          bool
	}{{"identity_json", c.IdentityJSON, c.IdentityJSON != ""}, {"jwt.header", c.JWT.Header, c.JWT.Key != ""}} {
		if !h.on {
			continue
		}
		twin := normalName(h.name)
		switch {
		case !isToken(h.name):
			ps.add(h.field, h.name, "is not a header field name", "write a name such as X-Session")
		case slices.Contains(reservedNames(), twin):
			ps.add(h.field, h.name, "has a meaning of its own in HTTP", "write a name such as X-Session")
		case c.isSource(twin):
			ps.add(h.field, h.name, "is also a source of the session id", "choose another name")
		case seen[twin]:
			ps.add(h.field, h.name, "is another identity header too, to many applications", "choose another name")
		}
		seen[twin] = true
	}
}
