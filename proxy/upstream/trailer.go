package upstream

import (
	"bytes"
	"fmt"

	"github.com/pillion-proxy/pillion/proxy/chunked"
	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// maxName is longer than any field name that must not trail.
const maxName = 32

// MayTrail says whether a field may be in a trailer section (RFC 9110 §6.5.1).
// Whoever merges trailers into the header must not be able to change by one how a
// message is framed, routed, authenticated, cached or understood.
func MayTrail(name []byte) bool {
	if len(name) > maxName {
		return true
	}
	var buf [maxName]byte
	lower := buf[:len(name)]
	for i, ch := range name {
		if 'A' <= ch && ch <= 'Z' {
			ch |= 0x20
		}
		lower[i] = ch
	}
	switch string(lower) {
	case "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings", // framing, this hop
		"host", "max-forwards", "via", "forwarded", "alt-svc", // routing
		"authorization", "www-authenticate", "cookie", "set-cookie", "cookie2", "set-cookie2", "clear-site-data",
		"strict-transport-security", "content-security-policy", // authentication and policy
		"expect", "range", "pragma", "accept-ranges", // request modifiers
		"cache-control", "age", "date", "expires", "vary", "warning", "last-modified", "surrogate-control", "no-vary-search", // caching
		"location", "retry-after", "allow", "refresh", "status": // what the response means
		return false
	case "content-digest": // made to trail (RFC 9530 §2)
		return true
	}
	for _, prefix := range [...]string{"content-", "if-", "proxy-", "x-forwarded-", "access-control-", "sec-", "cdn-cache-"} {
		if len(lower) >= len(prefix) && string(lower[:len(prefix)]) == prefix {
			return false
		}
	}
	return true
}

func appendField(b, name, value []byte) []byte {
	b = append(append(b, name...), ':', ' ')
	return append(append(b, value...), '\r', '\n')
}

// Trailers gives the trailer fields of a chunked body that is Complete, as lines
// "Name: value\r\n", without those that must not trail. It is nil when there are
// none, and valid as long as the Body.
func (b *Body) Trailers() []byte {
	if !b.end || b.framing != byChunks || len(b.dec.dec.Trailers()) == 0 {
		return nil
	}
	b.lines = b.dec.trailers(b.lines[:0])
	return b.lines
}

// checkTrailers refuses what would not be read as trailer fields and nothing else.
func checkTrailers(lines []byte) error {
	if len(lines) > chunked.MaxTrailers {
		return fmt.Errorf("the trailers exceed %d bytes", chunked.MaxTrailers)
	}
	for len(lines) > 0 {
		line, rest, found := bytes.Cut(lines, []byte("\r\n"))
		name, value, colon := bytes.Cut(line, []byte{':'})
		if !found || !colon || !syntax.Token(name) || syntax.HasControl(value) {
			return fmt.Errorf("trailer line %q", snippet(line))
		}
		lines = rest
	}
	return nil
}
