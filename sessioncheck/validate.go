package sessioncheck

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

const (
	maxSources  = 8
	maxKeyFixed = 256 // bytes of a key beside the id
)

// Check gives the mistakes in the settings; none when New accepts them.
func (c *Config) Check() []Problem {
	var ps Problems
	c.checkSources(&ps)
	c.checkFormat(&ps)
	if strings.Count(c.Key, "{id}") != 1 {
		ps.add("key", c.Key, "does not have {id} once", "write a key such as session:{id}")
	}
	if len(c.Key) > maxKeyFixed {
		ps.add("key", c.Key, fmt.Sprintf("is longer than %d bytes", maxKeyFixed), "shorten it")
	}
	if c.Sliding && c.TTL <= 0 {
		ps.add("ttl", c.TTL.String(), "is no lifetime that sliding renewal could set", "write a time such as 168h, or sliding: false")
	}
	if c.RetryAfter < 0 {
		ps.add("retry_after", c.RetryAfter.String(), "is negative", "write a time such as 1s")
	}
	if c.User != "" && !isFieldPath(c.User) {
		ps.add("user", c.User, "is not a field's path", "write names with dots between them, such as user.id")
	}
	c.checkIdentity(&ps)
	c.checkResultHeaders(&ps)
	return append(ps, c.ResultProblems()...)
}

// checkFormat checks what depends on the format.
func (c *Config) checkFormat(ps *Problems) {
	f := formats.Lookup(c.Format)
	if f == nil {
		ps.add("format", c.Format, "is not a known format", "write one of "+strings.Join(formats.Names(), ", "))
		return
	}
	switch {
	case f.Secrets == formats.RequiredSecrets && len(c.Secrets) == 0:
		ps.add("secrets", "", "is empty: cookies of the format "+f.Name+" are signed", "list the application's secrets, or presence as the format")
	case f.Secrets == formats.NoSecrets && len(c.Secrets) > 0:
		ps.add("secrets", "", "has no use with the format "+f.Name+", whose cookies are not signed", "remove it")
	}
	for i, s := range c.Secrets {
		if s == "" {
			ps.add(fmt.Sprintf("secrets[%d]", i), "", "is empty", "write the secret, or remove the entry")
		} else if _, err := f.Verifier([]string{s}, ""); err != nil {
			ps.add(fmt.Sprintf("secrets[%d]", i), "", err.Error(), "write the secret as the application has it")
		}
	}
	for i, path := range c.Login {
		if !isFieldPath(path) {
			ps.add(fmt.Sprintf("login[%d]", i), path, "is not a field's path", "write names with dots between them, such as user.id")
		}
	}
	if f.PresenceOnly && (len(c.Login) > 0 || len(c.Identity) > 0 || c.User != "") {
		ps.add("format", c.Format, "does not read sessions, so login, identity and user have no fields to name", "remove them, or write another format")
	}
	if f.NoRenewal && c.Sliding {
		ps.add("sliding", "true", "would not keep sessions of the format "+f.Name+" alive: only the application can", "write false")
	}
}

func (c *Config) checkSources(ps *Problems) {
	if len(c.Sources) == 0 || len(c.Sources) > maxSources {
		ps.add("sources", fmt.Sprint(len(c.Sources)), "is not a number of sources that can be searched",
			fmt.Sprintf("list 1 to %d, such as {header: X-Session-ID}", maxSources))
	}
	seen := make(map[string]bool)
	for i, s := range c.Sources {
		field := fmt.Sprintf("sources[%d]", i)
		name, id := s.Header, "header "+strings.ToLower(s.Header)
		if s.Cookie != "" {
			name, id = s.Cookie, "cookie "+s.Cookie
		}
		if s.Bearer {
			name, id = "Bearer", "bearer"
		}
		switch {
		case s.Bearer && (s.Header != "" || s.Cookie != ""):
			ps.add(field, s.Header+s.Cookie+" and bearer", "are two sources in one entry", "write an entry of its own for each")
		case s.Header != "" && s.Cookie != "":
			ps.add(field, s.Header+" and "+s.Cookie, "are two sources in one entry", "write an entry of its own for each")
		case !isToken(name):
			ps.add(field, name, "is not the name of a header or cookie", "write {header: X-Session-ID} or {cookie: session_id}")
		case strings.EqualFold(s.Header, "Cookie"):
			ps.add(field, name, "is a list of cookies, not an id", "name the cookie: {cookie: session_id}")
		case seen[id]:
			ps.add(field, name, "is listed twice", "remove one")
		}
		seen[id] = true
	}
}

func (c *Config) checkIdentity(ps *Problems) {
	seen := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(c.Identity)) {
		field, twin := "identity."+name, normalName(name)
		other, twice := seen[twin]
		switch {
		case !isToken(name):
			ps.add(field, name, "is not a header field name", "write a name such as X-User-Id")
		case slices.Contains(reservedNames(), twin):
			ps.add(field, name, "has a meaning of its own in HTTP", "write a name such as X-User-Id")
		case c.isSource(twin):
			ps.add(field, name, "is also a source of the session id", "choose another name")
		case twice:
			ps.add(field, name, "is the same header as "+other+" to many applications", "keep one of them")
		case !isFieldPath(c.Identity[name]):
			ps.add(field, c.Identity[name], "is not a field's path", "write names with dots between them, such as user.id")
		}
		seen[twin] = name
	}
}

func (c *Config) isSource(twin string) bool {
	return slices.ContainsFunc(c.Sources, func(s Source) bool {
		return normalName(s.Header) == twin || s.Bearer && twin == "authorization"
	})
}

// reservedNames are header fields that a session must not write, in their normal
// form: they frame the message, or speak for the connection or the client.
func reservedNames() []string {
	return []string{
		"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade",
		"expect", "cookie", "content-type", "content-encoding", "range", "date", "via", "forwarded",
		"proxy-authorization", "proxy-connection", "if-match", "if-none-match", "if-range",
		"if-modified-since", "if-unmodified-since",
	}
}

// Check gives the mistakes in the policy; none when CompilePolicy accepts it.
func (p *Policy) Check() []Problem {
	var ps Problems
	switch p.Mode {
	case "", ModeRequired:
	case ModeNone, ModeOptional:
		if len(p.Require) > 0 {
			ps.add("mode", string(p.Mode), "lets requests without a session pass, which require forbids", "remove mode, or write required")
		}
	default:
		ps.add("mode", string(p.Mode), "is not a mode", "write none, optional or required")
	}
	ps = append(ps, p.OnMissingProblems()...)
	for _, path := range slices.Sorted(maps.Keys(p.Require)) {
		if !isFieldPath(path) {
			ps.add("require."+path, path, "is not a field's path", "write names with dots between them, such as user.role")
		}
		if len(p.Require[path]) == 0 {
			ps.add("require."+path, "", "has no value that would be accepted", "list one or more, such as [admin, owner]")
		}
	}
	return ps
}

// isFieldPath checks for names with dots between them.
func isFieldPath(s string) bool {
	return s != "" && len(s) <= 256 && !slices.Contains(strings.Split(s, "."), "")
}

// isToken checks for a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
}
