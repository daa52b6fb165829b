package proxy

import (
	"bytes"
	"fmt"
	"net"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/upstream"
)

// offersProtocol says whether the request asks for another protocol (RFC 9110 §7.8) and
// can have it. The field is ignored, as if it were not there, when Connection does not
// name it, in HTTP/1.0, beside a body, and when nothing is offered that may be had.
func (x *exchange) offersProtocol() bool {
	if !x.isGet() || x.http10 || x.size != 0 || !x.connectionNames("upgrade") {
		return false
	}
	x.scratch = x.appendOffer(x.scratch[:0])
	return len(x.scratch) > 0
}

// connectionNames says whether a Connection field has the option, given in lower case.
func (x *exchange) connectionNames(option string) bool {
	for i := range x.lines {
		if x.lines[i].kind != kindConnection {
			continue
		}
		for list := x.lines[i].value; len(list) > 0; {
			var name []byte
			if name, list = nextElement(list); syntax.FoldEqual(name, option) {
				return true
			}
		}
	}
	return false
}

// appendOffer appends the protocols that the client offers and may have, as one list.
func (x *exchange) appendOffer(dst []byte) []byte {
	begin := len(dst)
	for i := range x.lines {
		if x.lines[i].kind != kindUpgrade {
			continue
		}
		for list := x.lines[i].value; len(list) > 0; {
			var protocol []byte
			if protocol, list = nextElement(list); !mayBecome(protocol) {
				continue
			}
			if len(dst) > begin {
				dst = append(dst, ", "...)
			}
			dst = append(dst, protocol...)
		}
	}
	return dst
}

// mayBecome refuses the protocols that carry HTTP requests themselves: through a tunnel
// of h2c, or of TLS (RFC 2817), a client would send the application requests that no
// rule and no session check has seen.
func mayBecome(protocol []byte) bool {
	name, version, versioned := bytes.Cut(protocol, []byte{'/'})
	if !syntax.Token(name) || versioned && !syntax.Token(version) {
		return false
	}
	for _, carrier := range [...]string{"h2c", "h2", "h3", "http", "tls"} {
		if syntax.FoldEqual(name, carrier) {
			return false
		}
	}
	return true
}

// wantsTunnel says whether the request is to be sent as an upgrade.
func (x *exchange) wantsTunnel() bool {
	_, socket := x.route.origin.(*upstreamOrigin)
	return socket && x.upgrade
}

// upgradeTo sends the request on a connection of its own, which never goes back to
// the pool. Bytes of the client are forwarded only after the application has said
// 101; any other answer is an answer like all others.
func (x *exchange) upgradeTo() {
	x.outcome = outcomePass
	if !x.h.tunnels.reserve(x.snap.server.MaxTunnels) {
		x.noTunnel()
		return
	}
	defer x.h.tunnels.unreserve() // a tunnel that opens takes a place of its own
	c := x.h.calls.Get().(*call)
	if err := c.prepare(x, false); err != nil {
		c.release()
		x.forwardFailed(err)
		return
	}
	head := append(c.head[:len(c.head)-2], "Connection: Upgrade\r\nUpgrade: "...)
	c.head = append(x.appendOffer(head), "\r\n\r\n"...)
	c.req.Head = c.head
	origin := x.route.origin.(*upstreamOrigin)
	conn, body, err := origin.client.Upgrade(x.h.tunnels.asking, &c.req, &x.ctx.Response.Header)
	switch {
	case err != nil:
		c.release()
		x.forwardFailed(err)
	case conn != nil:
		c.release()
		x.switchTo(conn)
	default:
		c.body = body
		x.tidyHead()
		if err := x.takeBody(c); err != nil {
			x.forwardFailed(err)
			return
		}
		x.status = x.ctx.Response.StatusCode()
		if !x.takeFields() {
			return
		}
		x.addStatus(cache.Status{Fwd: cache.FwdBypass})
	}
}

// noTunnel answers an upgrade for which there is no room, or no time any more.
func (x *exchange) noTunnel() {
	x.outcome = outcomeRefused
	x.h.stats.refused("tunnels")
	x.problem(fasthttp.StatusServiceUnavailable, "No further connection can be upgraded now.", "Retry-After: 1\r\n")
}

// switchTo makes a tunnel of the client's connection and the application's, which has
// said 101.
func (x *exchange) switchTo(app net.Conn) {
	head, err := x.switchingHead()
	if err != nil {
		_ = app.Close()
		x.forwardFailed(err)
		return
	}
	t := &tunnel{
		of: &x.h.tunnels, app: app, head: head, contain: x.h.contain,
		writeTimeout: x.snap.server.WriteTimeout, idleTimeout: x.snap.server.TunnelIdleTimeout,
	}
	if x.session != nil {
		sessions, s, p := x.h.sessions, x.session, x.route.session
		t.watch = func() (stop func()) { return sessions.Watch(s, p, func() { t.end(endSession) }) }
	}
	if !x.h.tunnels.add(t) {
		_ = app.Close()
		x.noTunnel()
		return
	}
	x.status = fasthttp.StatusSwitchingProtocols
	// The 101 is the tunnel's to write: the server would not hand the connection over
	// when it could not write, or is being shut down, and nobody would be told.
	x.ctx.HijackSetNoResponse(true)
	if x.wire != nil {
		x.wire.Raw()
	}
	x.ctx.Hijack(t.take)
}

// switchingHead is the head of the 101 for the client. What the application switches to
// must be what the client has offered (RFC 9110 §7.8): else the two would read what
// follows differently.
func (x *exchange) switchingHead() ([]byte, error) {
	h := &x.ctx.Response.Header
	var protocols []byte
	for _, value := range h.PeekAll(fasthttp.HeaderUpgrade) {
		for list := value; len(list) > 0; {
			var protocol []byte
			if protocol, list = nextElement(list); len(protocol) == 0 {
				continue
			}
			if !x.offered(protocol) {
				return nil, fmt.Errorf("%w: a 101 with Upgrade: %.64q, which was not asked for", upstream.ErrBadResponse, protocol)
			}
			if len(protocols) > 0 {
				protocols = append(protocols, ", "...)
			}
			protocols = append(protocols, protocol...)
		}
	}
	if len(protocols) == 0 {
		return nil, fmt.Errorf("%w: a 101 without an Upgrade field", upstream.ErrBadResponse)
	}
	x.tidyHead()
	x.h.tasks.drop(h)
	x.dress() // here, since it is not the server that sends this head
	head := append([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "), protocols...)
	head = append(head, '\r', '\n')
	for name, value := range h.All() {
		if k := kindOf(name); k != kindLength && k != kindCoding && !syntax.FoldEqual(name, "content-type") {
			head = appendLine(head, name, value)
		}
	}
	return append(head, '\r', '\n'), nil
}

// offered says whether the client has offered the protocol, and may have it.
func (x *exchange) offered(protocol []byte) bool {
	for list := x.appendOffer(nil); len(list) > 0; {
		var is []byte
		if is, list = nextElement(list); bytes.EqualFold(is, protocol) {
			return true
		}
	}
	return false
}
