package proxy

import (
	"strconv"

	"github.com/valyala/fasthttp"
)

// forwards is what the Max-Forwards of the request allows, or -1 for any number. Only
// OPTIONS and TRACE have it (RFC 9110 §7.6.2).
func (x *exchange) forwards() int {
	if m := string(x.method); m != fasthttp.MethodOptions && m != fasthttp.MethodTrace {
		return -1
	}
	for i := range x.lines {
		if l := &x.lines[i]; l.kind == kindMaxForwards {
			if n, err := strconv.Atoi(string(l.value)); err == nil && n >= 0 {
				return n
			}
		}
	}
	return -1
}

// appendMaxForwards passes the field on: one less where it counts.
func (x *exchange) appendMaxForwards(b []byte, l *line) []byte {
	if n := x.forwards(); n > 0 {
		return append(strconv.AppendInt(append(append(b, l.name...), ": "...), int64(n-1), 10), '\r', '\n')
	}
	return appendLine(b, l.name, l.value)
}

// answersHere answers a request that must go no further.
func (x *exchange) answersHere() bool {
	if x.forwards() != 0 {
		return false
	}
	x.outcome = outcomePass
	if string(x.method) == fasthttp.MethodTrace {
		x.problem(fasthttp.StatusNotImplemented, "A request is not reflected here.", "")
		return true
	}
	x.ctx.Response.Reset()
	x.readHead("HTTP/1.1 204 No Content\r\nDate: " + httpDate(x.now) + "\r\n\r\n")
	x.status = fasthttp.StatusNoContent
	return true
}
