package proxy

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// redirect is on_missing.redirect, compiled.
type redirect struct {
	path          string // which is never redirected itself
	before, after string // of {uri}
	carries       bool   // there is a {uri}
}

// maxCarried bounds what goes into {uri}: escaped it may be three times as long, and
// must fit into the header of the next request.
const maxCarried = 2048

// compileMissing takes the rule's own, else the one for all; nil is 401 for everybody.
func compileMissing(general *sessioncheck.OnMissing, p *sessioncheck.CompiledPolicy) (*redirect, error) {
	m := p.OnMissing()
	if m == (sessioncheck.OnMissing{}) {
		m = *general
	}
	if problems := m.Problems(); len(problems) > 0 {
		return nil, fmt.Errorf("session.%w", problems[0])
	}
	if m.Redirect == "" {
		return nil, nil
	}
	r := new(redirect)
	r.path, _, _ = strings.Cut(m.Redirect, "?")
	r.before, r.after, r.carries = strings.Cut(m.Redirect, "{uri}")
	return r, nil
}

// sessionMissing answers a request without the session that it needs.
func (x *exchange) sessionMissing() {
	x.outcome = outcomeUnauthorized
	r := x.route.missing
	if r == nil || string(x.path) == r.path || !x.isNavigation() {
		x.problem(fasthttp.StatusUnauthorized, "A valid session is needed.", x.h.sessions.Challenge())
		return
	}
	location := []byte(r.before)
	if r.carries {
		location = append(x.appendCarried(location), r.after...)
	}
	x.ctx.Response.Reset()
	x.readHead("HTTP/1.1 302 Found\r\nDate: " + httpDate(x.now) + "\r\nLocation: " + string(location) +
		"\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n")
	x.status = fasthttp.StatusFound
}

// appendCarried appends where the client wanted to go, escaped as a value in a query.
// The application may send the client there, so it is a path of this site: not one with
// two slashes at its beginning, which names another host, be one of them escaped.
func (x *exchange) appendCarried(dst []byte) []byte {
	uri := x.appendTarget(nil)
	if len(uri) > maxCarried {
		uri = uri[:len(x.path)]
	}
	second := bytes.ToUpper(uri[min(1, len(uri)):min(4, len(uri))])
	if len(uri) > maxCarried || bytes.HasPrefix(second, []byte{'/'}) || string(second) == "%2F" {
		uri = []byte{'/'}
	}
	for _, c := range uri {
		if unreserved(c) {
			dst = append(dst, c)
		} else {
			dst = appendEscape(dst, c)
		}
	}
	return dst
}

// isNavigation says whether a browser asks for a page that its user shall see. A script
// that asks could do nothing with a redirect to a page.
func (x *exchange) isNavigation() bool {
	if !x.isGet() && !x.isHead() || x.upgrade {
		return false
	}
	html := false
	for i := range x.lines {
		l := &x.lines[i]
		switch {
		case syntax.FoldEqual(l.name, "accept"):
			html = html || acceptsHTML(l.value)
		case syntax.FoldEqual(l.name, "sec-fetch-mode"):
			if !syntax.FoldEqual(l.value, "navigate") {
				return false
			}
		case syntax.FoldEqual(l.name, "x-requested-with"):
			if syntax.FoldEqual(l.value, "xmlhttprequest") {
				return false
			}
		}
	}
	return html
}

// acceptsHTML says whether the list has text/html by name, with a weight above zero
// (RFC 9110 §12.5.1). "*/*" is what scripts and tools send.
func acceptsHTML(list []byte) bool {
	for len(list) > 0 {
		var element []byte
		element, list = nextElement(list)
		media, params, _ := bytes.Cut(element, []byte{';'})
		if syntax.FoldEqual(syntax.TrimOWS(media), "text/html") && !zeroWeight(params) {
			return true
		}
	}
	return false
}

// zeroWeight finds q=0, with any number of zeros behind its point.
func zeroWeight(params []byte) bool {
	for len(params) > 0 {
		var p []byte
		p, params, _ = bytes.Cut(params, []byte{';'})
		name, value, _ := bytes.Cut(p, []byte{'='})
		if syntax.FoldEqual(syntax.TrimOWS(name), "q") {
			return len(bytes.Trim(syntax.TrimOWS(value), "0.")) == 0
		}
	}
	return false
}
