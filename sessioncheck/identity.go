package sessioncheck

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// normalName gives the form in which two header names are the same to an
// application: CGI-like interfaces (WSGI, Rack, PHP) write both X-User-Id and
// X_user_id as HTTP_X_USER_ID, and some turn every other character to "_" too.
func normalName(name string) string {
	b := []byte(strings.ToLower(name))
	for i, c := range b {
		if !isAlnum(c) {
			b[i] = '-'
		}
	}
	return string(b)
}

// IsIdentityHeader says whether an application could take the header for one that
// the session sets: in any case, with "_" or any other such character for "-". The
// proxy removes these from every client's request, on every route. It allocates
// nothing.
func (c *Checker) IsIdentityHeader(name []byte) bool {
	for _, normal := range c.schema.identityNames {
		if equalNormal(name, normal) {
			return true
		}
	}
	return false
}

func equalNormal(name []byte, normal string) bool {
	if len(name) != len(normal) {
		return false
	}
	for i, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case !isAlnum(c):
			c = '-'
		}
		if c != normal[i] {
			return false
		}
	}
	return true
}

// AppendIdentity appends the identity headers of the session as lines, each with its
// CRLF. A field that the session does not have, or whose value is no safe header
// value, has no line. A nil session has none.
func (c *Checker) AppendIdentity(dst []byte, s *Session) []byte {
	if s == nil {
		return dst
	}
	dst = append(dst, s.identity...)
	return c.schema.signer.appendToken(dst, s)
}

// maxValueBytes bounds what is taken from one field of a session.
const maxValueBytes = 1024

// safeHeaderValue checks a value that is about to become a header. White space at
// the ends is refused because its receiver removes it: " admin" would become another
// user's name.
func safeHeaderValue(v string) bool {
	if v == "" || len(v) > maxValueBytes || strings.TrimSpace(v) != v {
		return false
	}
	return distinct(v) && !strings.ContainsFunc(v, unicode.IsControl)
}

// distinct is false for a text that decoding may have made equal to another one: a
// lone surrogate such as \ud800 becomes U+FFFD, like every other.
func distinct(v string) bool { return !strings.ContainsRune(v, utf8.RuneError) }
