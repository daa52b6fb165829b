package pillion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pillion-proxy/pillion/sessioncheck"
)

// maxActiveID bounds the bitmap of a day: 4 billion ids are 512 MiB.
const maxActiveID = 1<<32 - 1

// lifecycle checks what pillion does with sessions beside checking them.
func (v *validator) lifecycle() {
	s := v.cfg.Session
	if v.headerName("session.lifecycle_header", s.LifecycleHeader) {
		v.notIdentity("session.lifecycle_header", s.LifecycleHeader)
		for i, src := range s.Sources {
			if src.Header != "" && headerTwin(src.Header) == headerTwin(s.LifecycleHeader) {
				v.add("session.lifecycle_header", s.LifecycleHeader, fmt.Sprintf("is also session.sources[%d]", i), "use another header for one of the two")
			}
		}
	}
	if s.Lifecycle && s.Format != "json" {
		v.add("session.lifecycle", "true", fmt.Sprintf("needs sessions that pillion can write, and session.format is %q", s.Format), "write format: json, or lifecycle: false")
	}
	if s.Lifecycle && s.Cookie.Name == "" && !slices.ContainsFunc(s.Sources, func(src sessioncheck.Source) bool { return src.Cookie != "" }) {
		v.add("session.cookie.name", "", "is empty, and session.sources has no cookie", "name the cookie that a created session gets, such as session_id")
	}
	v.sessionCookie(s.Cookie)
	if s.MaxPerUser < 0 || s.MaxPerUser > 1000 {
		v.add("session.max_per_user", fmt.Sprint(s.MaxPerUser), "is out of range", "write a number from 1 to 1000, or 0 for no bound of your own")
	}
	if s.MaxPerUser > 0 && !s.Lifecycle && !s.Index {
		v.add("session.max_per_user", fmt.Sprint(s.MaxPerUser), "has no effect while sessions are not indexed", "write index: true or lifecycle: true beside it, or 0")
	}
	if id := s.ActiveUsers.MaxID; id < 0 || id > maxActiveID {
		v.add("session.active_users.max_id", fmt.Sprint(id), "is out of range", fmt.Sprintf("write a number from 0 to %d: an eighth of it is the size of a day in bytes", maxActiveID))
	}
}

func (v *validator) sessionCookie(c sessioncheck.Cookie) {
	if c.Name != "" && !isToken(c.Name) {
		v.add("session.cookie.name", c.Name, "is not a valid cookie name", "write letters, digits, - and _ only")
	}
	// What browsers refuse without a word (RFC 6265bis, section 4.1.3).
	if strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Domain != "" || c.Path != "/") {
		v.add("session.cookie.name", c.Name, "needs secure: true, path: / and no domain: browsers refuse the cookie otherwise", "change these, or use a name without __Host-")
	}
	if strings.HasPrefix(c.Name, "__Secure-") && !c.Secure {
		v.add("session.cookie.name", c.Name, "needs secure: true: browsers refuse the cookie otherwise", "change it, or use a name without __Secure-")
	}
	if strings.ContainsFunc(c.Domain, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(";,/:", r) }) {
		v.add("session.cookie.domain", c.Domain, "is not a domain", "write a name such as example.com, or leave it out")
	}
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r > '~' || r == ';' }) {
		v.add("session.cookie.path", c.Path, orEmpty(c.Path, "is not a path that a cookie can have"), "write a path that begins with /")
	}
	v.oneOf("session.cookie.same_site", c.SameSite, "a SameSite setting", "lax", "strict", "none")
	if c.SameSite == "none" && !c.Secure {
		v.add("session.cookie.same_site", c.SameSite, "needs secure: true: browsers refuse the cookie otherwise", "write lax, or secure: true")
	}
	v.notNegative("session.cookie.max_age", c.MaxAge)
}
