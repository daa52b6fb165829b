package sessioncheck

import (
	"strconv"
	"strings"
	"time"
)

// hostPrefix and securePrefix are what browsers accept only with the attributes that
// they stand for (RFC 6265bis, section 4.1.3).
const (
	hostPrefix   = "__Host-"
	securePrefix = "__Secure-"
)

// sessionCookie gives the name of the cookie that a created session gets; empty when
// there is none.
func (c *Config) sessionCookie() string {
	if c.Cookie.Name != "" {
		return c.Cookie.Name
	}
	for _, s := range c.Sources {
		if s.Cookie == "" {
			continue
		}
		k := c.Cookie
		if k.Secure && k.Domain == "" && k.Path == "/" && !strings.HasPrefix(s.Cookie, "__") {
			return hostPrefix + s.Cookie
		}
		return s.Cookie
	}
	return ""
}

// lifecycleSources gives the sources with the cookie that pillion itself sets among
// them, before the first other cookie: one that a neighbouring domain has planted
// under the plain name must not win.
func (c *Config) lifecycleSources() []Source {
	name := c.sessionCookie()
	if !c.Lifecycle || name == "" {
		return c.Sources
	}
	at := len(c.Sources)
	for i, s := range c.Sources {
		if s.Cookie == name {
			return c.Sources
		}
		if s.Cookie != "" && at == len(c.Sources) {
			at = i
		}
	}
	out := append([]Source{}, c.Sources[:at]...)
	return append(append(out, Source{Cookie: name}), c.Sources[at:]...)
}

// setCookie gives the value of a Set-Cookie field that hands the id to the client.
func (c *Config) setCookie(id string) string { return c.cookieLine(id, c.Cookie.MaxAge) }

// expireCookie gives the value of one that makes the client forget the cookie.
func (c *Config) expireCookie(name string) string {
	line := name + "=; Path=" + c.Cookie.Path + "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
	return line + c.cookieAttributes()
}

func (c *Config) cookieLine(id string, maxAge time.Duration) string {
	line := c.sessionCookie() + "=" + id + "; Path=" + c.Cookie.Path
	if maxAge > 0 {
		line += "; Max-Age=" + strconv.FormatInt(int64(maxAge/time.Second), 10)
	}
	return line + c.cookieAttributes()
}

func (c *Config) cookieAttributes() string {
	line := ""
	if c.Cookie.Domain != "" {
		line += "; Domain=" + c.Cookie.Domain
	}
	line += "; HttpOnly"
	if c.Cookie.Secure {
		line += "; Secure"
	}
	switch c.Cookie.SameSite {
	case "strict":
		return line + "; SameSite=Strict"
	case "none":
		return line + "; SameSite=None"
	}
	return line + "; SameSite=Lax"
}
