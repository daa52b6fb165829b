package proxy

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/upstream"
)

// requestTrailers gives the fields that followed the client's chunked body, without
// those that only a header may have or that pillion speaks for (RFC 9110 §6.5.1). It
// runs in the goroutine that has read the body to its end.
func (c *call) requestTrailers() []byte {
	given := c.in.wire.Trailers()
	if len(given) == 0 {
		return nil
	}
	kept := make([]byte, 0, len(given))
	for line := range bytes.Lines(given) {
		name, _, _ := bytes.Cut(line, []byte{':'})
		if upstream.MayTrail(name) && kindOf(name) == kindPass && !c.barred(name) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// bars tells which fields the client may not set on this route, be it in a trailer.
func (x *exchange) bars() func(name []byte) bool {
	h, snap, edit := x.h, x.snap, x.route.requestEdit
	return func(name []byte) bool {
		return h.sessions.IsIdentityHeader(name) || snap.isRequestID(name) || h.tasks.isTwin(name) || edit != nil && edit.drops(name)
	}
}

// trail gives the response the fields that followed the application's chunked body. The
// header has been sent; what is added now stands behind the last chunk.
func (c *call) trail(h *fasthttp.ResponseHeader) {
	for line := range bytes.Lines(c.body.Trailers()) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		if kindOf(name) != kindPass || c.lifecycle.IsHeader(name) || c.tasks.is(name) || h.AddTrailerBytes(name) != nil {
			continue
		}
		h.AddBytesKV(name, syntax.TrimOWS(bytes.TrimRight(value, "\r\n")))
	}
}
