package proxy

import (
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// CSRF is, in YAML, off, on, or a mapping of the fields below.
type CSRF struct {
	// Mode is off or on; with Origins alone it is on, else off.
	Mode string `yaml:"mode,scalar"`
	// Origins are those of other sites that may send requests with the cookie.
	Origins []string `yaml:"origins"`
}

// csrf is a CSRF that is on, compiled.
type csrf struct{ origins map[string]struct{} }

func compileCSRF(c *CSRF) *csrf {
	if c.Mode == "off" || c.Mode == "" && len(c.Origins) == 0 {
		return nil
	}
	out := &csrf{make(map[string]struct{}, len(c.Origins))}
	for _, o := range c.Origins {
		out.origins[o] = struct{}{}
	}
	return out
}

// csrf checks the setting of a rule.
func (c *ruleCheck) csrf(s *CSRF) {
	switch {
	case s.Mode != "" && s.Mode != "off" && s.Mode != "on":
		c.add("csrf", s.Mode, "is not a setting of csrf", "write on, off or {origins: [https://shop.example.com]}")
	case s.Mode == "off" && len(s.Origins) > 0:
		c.add("csrf.origins", strings.Join(s.Origins, ", "), "are listed, but mode is off", "remove mode, or the list")
	case s.Origins != nil && len(s.Origins) == 0:
		c.add("csrf.origins", "", "", "list an origin, or write csrf: on")
	case compileCSRF(s) != nil && !c.session:
		c.add("csrf", "on", "is set, but the rule has session: none", "write session: required or optional, or remove csrf")
	}
	for i, o := range s.Origins {
		if !sessioncheck.ValidOrigin(o) {
			c.add(fmt.Sprintf("csrf.origins[%d]", i), o, sessioncheck.OriginMessage, sessioncheck.OriginRemedy)
		}
	}
}

// fromOwnSite refuses a request that another site may have made a browser send with the
// session's cookie. A header no other site can set: requests with one pass.
func (x *exchange) fromOwnSite(res *sessioncheck.Result) bool {
	if x.mayBeFrom(res) {
		return true
	}
	x.h.stats.refused("csrf")
	x.outcome = outcomeForbidden
	x.problem(fasthttp.StatusForbidden, "The request does not come from a page of this site (csrf).", "")
	return false
}

// mayBeFrom is fromOwnSite without an effect.
func (x *exchange) mayBeFrom(res *sessioncheck.Result) bool {
	c := x.route.csrf
	return c == nil || !res.FromCookie || !x.upgrade && !x.unsafe() || x.allowsOrigin(c)
}

// unsafe says whether a request of the method may change something (RFC 9110 §9.2.1).
// What is not known may.
func (x *exchange) unsafe() bool {
	switch string(x.method) {
	case fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodOptions, fasthttp.MethodTrace:
		return false
	}
	return true
}

// allowsOrigin judges by Sec-Fetch-Site, which no page can set; by Origin when there is
// none, and for an upgrade, with which every browser sends it. With neither the request
// is not known to be the site's own.
func (x *exchange) allowsOrigin(c *csrf) bool {
	origin := x.onlyField("origin")
	if _, listed := c.origins[string(origin)]; listed {
		return true
	}
	if x.upgrade || !x.has("sec-fetch-site") {
		return len(origin) > 0 && x.isOwn(string(origin))
	}
	site := x.onlyField("sec-fetch-site")
	return syntax.FoldEqual(site, "same-origin") || syntax.FoldEqual(site, "none")
}

func (x *exchange) has(name string) bool {
	for i := range x.lines {
		if syntax.FoldEqual(x.lines[i].name, name) {
			return true
		}
	}
	return false
}

// isOwn says whether the origin is the one at which the client sees this site: of its
// scheme a trusted proxy knows, and browsers leave the default port out.
func (x *exchange) isOwn(origin string) bool {
	scheme := x.scheme()
	if given := x.given(x.snap.trusts(x.clientAddr()), kindProto); given != nil {
		scheme = string(given)
	}
	port := map[string]string{"http": ":80", "https": ":443"}[scheme]
	return port != "" && origin == scheme+"://"+strings.TrimSuffix(string(x.host), port)
}
