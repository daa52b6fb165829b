package proxy

import (
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// corsOrigins is session.cors_origins, compiled.
type corsOrigins struct {
	exact map[string]struct{}
	any   bool
}

func newCORS(origins []string) corsOrigins {
	c := corsOrigins{exact: make(map[string]struct{}, len(origins))}
	for _, o := range origins {
		if o == "*" {
			c.any = true
		} else {
			c.exact[o] = struct{}{}
		}
	}
	return c
}

// corsLines lets the script that asked read an answer of pillion's own: without them a
// browser shows it a network error in place of a 401. Other statuses are no answer to
// what the session check found.
func (x *exchange) corsLines(status int) string {
	c := &x.snap.cors
	switch status {
	case fasthttp.StatusUnauthorized, fasthttp.StatusForbidden, fasthttp.StatusServiceUnavailable:
	default:
		return ""
	}
	if !c.any && len(c.exact) == 0 {
		return ""
	}
	origin := x.onlyField("origin")
	_, listed := c.exact[string(origin)]
	const expose = "Access-Control-Expose-Headers: Retry-After, WWW-Authenticate\r\n"
	switch {
	case listed:
		return "Access-Control-Allow-Origin: " + string(origin) + "\r\nAccess-Control-Allow-Credentials: true\r\n" + expose + "Vary: Origin\r\n"
	case c.any && len(origin) > 0:
		return "Access-Control-Allow-Origin: *\r\n" + expose + "Vary: Origin\r\n"
	}
	return "Vary: Origin\r\n"
}

// isPreflight says whether the request is what a browser sends ahead of another site's
// request, without cookies by the standard (Fetch, section 4.8): it can have no session,
// and the application must answer it. It must be one to the application too, which is
// why fields that Connection takes away do not count.
func (x *exchange) isPreflight() bool {
	return string(x.method) == fasthttp.MethodOptions && x.size == 0 &&
		len(x.onlyField("origin")) > 0 && syntax.Token(x.onlyField("access-control-request-method"))
}

// onlyField gives the value of a field, named in lower case, that goes on to the
// application; nil when it is absent or there are two.
func (x *exchange) onlyField(name string) []byte {
	var value []byte
	for i := range x.lines {
		l := &x.lines[i]
		if l.kind != kindPass || !syntax.FoldEqual(l.name, name) {
			continue
		}
		if value != nil {
			return nil
		}
		if value = l.value; value == nil {
			value = []byte{}
		}
	}
	return value
}
