package sessioncheck

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// ResultProblems gives the mistakes in the settings of what follows from a check, but
// for the names of headers.
func (c *Config) ResultProblems() []Problem {
	ps := Problems(c.OnMissing.Problems())
	for i, o := range c.CORSOrigins {
		if o != "*" && !ValidOrigin(o) {
			ps.add(fmt.Sprintf("cors_origins[%d]", i), o, OriginMessage, OriginRemedy+`, or "*"`)
		} else if slices.Contains(c.CORSOrigins[:i], o) {
			ps.add(fmt.Sprintf("cors_origins[%d]", i), o, "is listed twice", "remove one of the two")
		}
	}
	if c.Grace < 0 || c.Grace > time.Hour {
		ps.add("grace", c.Grace.String(), "is out of range", "write a time up to 1h, such as 30s, or 0s for none")
	}
	switch {
	case c.AbsoluteTimeout < 0:
		ps.add("absolute_timeout", c.AbsoluteTimeout.String(), "is negative", "write a time such as 720h, or 0s for none")
	case c.AbsoluteTimeout > 0 && c.CreatedField == "":
		ps.add("absolute_timeout", c.AbsoluteTimeout.String(), "is set, but session.created_field is not",
			"name the session field that says when the session was made, since no pod alone knows")
	}
	if c.CreatedField != "" && !isFieldPath(c.CreatedField) {
		ps.add("created_field", c.CreatedField, "is not a field's path", "write names with dots between them, such as session.created_at")
	}
	return append(ps, c.JWT.problems()...)
}

// maxRedirect bounds on_missing.redirect.
const maxRedirect = 1024

// Problems gives the mistakes in the setting; Field begins with on_missing. All of its
// values may be absent.
func (m *OnMissing) Problems() []Problem {
	var ps Problems
	if m.Status != 0 && m.Status != 401 {
		ps.add("on_missing.status", fmt.Sprint(m.Status), "is not the status of a request without a session", "write 401, or a redirect for browsers")
	}
	if m.Redirect == "" {
		return ps
	}
	const remedy = `write a path that begins with one slash, such as "/login?next={uri}"`
	at, query, _ := strings.Cut(m.Redirect, "?")
	filled := strings.Replace(query, "{uri}", "", 1)
	fault := pathFault(at)
	switch {
	case len(m.Redirect) > maxRedirect:
		ps.add("on_missing.redirect", m.Redirect, fmt.Sprintf("is longer than %d bytes", maxRedirect), "shorten it")
	case fault != "":
		ps.add("on_missing.redirect", m.Redirect, fault, remedy)
	case strings.ContainsFunc(filled, notInQuery):
		ps.add("on_missing.redirect", m.Redirect, "has something in its query that may not stand there, beside one {uri}", remedy)
	}
	return ps
}

// pathFault refuses all paths that a browser or the guard could read in another way
// than they are written; "//host" would be another site.
func pathFault(at string) string {
	switch {
	case !strings.HasPrefix(at, "/"):
		return "is not a path of this site"
	case strings.ContainsFunc(at, func(r rune) bool { return !isPathRune(r) }):
		return "has something in its path other than letters, digits and - . _ ~ /"
	case path.Clean(at) != at && path.Clean(at)+"/" != at:
		return "has an empty segment or a dot segment in its path"
	}
	return ""
}

func notInQuery(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("\"#<>\\^`{|}", r)
}

func isPathRune(r rune) bool {
	return r < 0x80 && (isAlnum(byte(r)) || strings.ContainsRune("-._~/", r))
}

// OnMissingProblems gives the mistakes in the policy's own OnMissing.
func (p *Policy) OnMissingProblems() []Problem {
	ps := Problems(p.OnMissing.Problems())
	if p.OnMissing != (OnMissing{}) && (p.Mode == ModeNone || p.Mode == ModeOptional) {
		ps.add("on_missing", string(p.Mode), "is the mode, in which no request is refused for want of a session", "remove on_missing, or write mode: required")
	}
	return ps
}

// What ValidOrigin's callers say of what it refuses.
const (
	OriginMessage = "is not an origin as browsers write it"
	OriginRemedy  = "write a scheme and a host in small letters, without a path or a default port, such as https://shop.example.com"
)

// ValidOrigin says whether s is an origin as browsers write it in Origin (RFC 6454,
// section 6.2): only such a one can ever be equal.
func ValidOrigin(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return false
	}
	if strings.Contains(u.Hostname(), ":") && net.ParseIP(u.Hostname()) == nil {
		return false
	}
	defaultPort := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return s == u.Scheme+"://"+u.Host && s == strings.ToLower(s) && u.Port() != defaultPort &&
		!strings.HasSuffix(u.Host, ":") && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"*,;\\", r) })
}
