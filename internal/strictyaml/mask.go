package strictyaml

import (
	"strings"
	"unicode/utf8"
)

const (
	masked = "***"
	// maxShown bounds what a message quotes of a value, in bytes.
	maxShown = 80
)

// Mask gives text as it may be shown: secret is the tag of its field. Whatever
// the field, a password within a URL is masked, and a long text is cut.
func Mask(secret, text string) string {
	if text == "" {
		return ""
	}
	if secret == "true" {
		return masked
	}
	return shorten(MaskURL(text, secret == "url"))
}

// MaskURL masks the user information of a URL, all but a user name that has a
// password behind it, and the values of query parameters that sound like a
// secret. It works on text that is no valid URL too. When always is set, what
// may be a password in such text is masked as well.
func MaskURL(text string, always bool) string {
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case !ok && always && strings.Contains(text, ":") && !strings.Contains(text, "@") && plainAuthority(text):
		return text // host:port, its scheme forgotten
	case !ok && always:
		return masked
	case !ok:
		return text
	}
	scheme += "://"
	rest, query, hasQuery := strings.Cut(rest, "?")
	// The last @: a password that was not percent-encoded may hold one, or a "/".
	// One in the path alone costs only a masked path.
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		user, _, hasPassword := strings.Cut(rest[:i], ":")
		if !hasPassword {
			user = ""
		} else {
			user += ":"
		}
		rest = user + masked + rest[i:]
	} else if always && !plainAuthority(rest) {
		rest = masked
	}
	if hasQuery {
		// A "?" in a password that was not percent-encoded puts the @ behind it.
		if i := strings.LastIndex(query, "@"); i >= 0 {
			return scheme + masked + query[i:]
		}
		rest += "?" + maskQuery(query)
	}
	return scheme + rest
}

// plainAuthority says whether s is host:port/path with a port of digits. A URL
// that lost its @ has the password where the port should be.
func plainAuthority(s string) bool {
	host, _, _ := strings.Cut(s, "/")
	if strings.HasPrefix(host, "[") { // an IPv6 address
		_, host, _ = strings.Cut(host, "]")
	}
	_, port, ok := strings.Cut(host, ":")
	return !ok || len(port) <= 5 && strings.Trim(port, "0123456789") == ""
}

func maskQuery(query string) string {
	params := strings.Split(query, "&")
	for i, p := range params {
		name, _, ok := strings.Cut(p, "=")
		lower := strings.ToLower(name)
		for _, word := range []string{"pass", "secret", "token", "key", "sig"} {
			if ok && strings.Contains(lower, word) {
				params[i] = name + "=" + masked
			}
		}
	}
	return strings.Join(params, "&")
}

// shorten cuts a long text, at a whole character.
func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	end := maxShown
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
