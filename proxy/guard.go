package proxy

import (
	"bytes"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// refusal is a request that is not forwarded, because two readers could take it
// for two different requests.
type refusal struct {
	status int
	reason string // for metrics
	detail string
}

// The refusals. They are constants in all but name; nothing writes to them.
var (
	refuseVersion       = refusal{505, "version", "The HTTP version is neither 1.0 nor 1.1."}
	refuseMethod        = refusal{501, "method", "The method is not one of capital letters and hyphens, or is CONNECT."}
	refuseTarget        = refusal{400, "target", "The request target is neither a path nor an http URL."}
	refuseTargetByte    = refusal{400, "target_byte", "The request target holds a space, a control character, a backslash or a fragment."}
	refuseEscape        = refusal{400, "escape", "The path holds a malformed percent-escape, or an escaped slash, backslash or control character."}
	refuseDots          = refusal{400, "dot_segment", "The path holds a segment of one or two dots. Resolve it before sending."}
	refuseEmptySegment  = refusal{400, "empty_segment", "The path holds two slashes in a row."}
	refuseSlashMeaning  = refusal{400, "encoded_slash", "The path holds an escaped slash, and means something else when it is read as a slash."}
	refuseEmptyMeaning  = refusal{400, "empty_segment", "The path holds two slashes in a row, and means something else when they are read as one."}
	refuseParamMeaning  = refusal{400, "path_parameter", "The path holds a semicolon, and means something else without what follows it in its segment."}
	refuseHost          = refusal{400, "host", "The Host field is missing, given twice, malformed, or differs from the request target."}
	refuseLineEnd       = refusal{400, "line_end", "A header line does not end with CR LF."}
	refuseFold          = refusal{400, "folded_line", "A header line begins with white space."}
	refuseFieldName     = refusal{400, "field_name", "A field name is not a token."}
	refuseFieldValue    = refusal{400, "field_value", "A field value holds a control character."}
	refuseTooManyFields = refusal{431, "too_many_fields", "The header has more than 256 lines."}
	refuseFraming       = refusal{400, "framing", "Content-Length and Transfer-Encoding are both given, given twice, or not understood."}
	refuseCoding        = refusal{501, "transfer_coding", "The only transfer coding that is understood is chunked."}
	refuseTwin          = refusal{400, "field_twin", "A field is named like Content-Length or Transfer-Encoding, but for the hyphen."}
	refuseBody          = refusal{413, "body", "The body is larger than is allowed here."}
)

// guard decides the one form of the request that rules, the session check, the
// cache key and the application all see. It leaves it in x.method, x.host, x.path,
// x.query and x.lines.
func (x *exchange) guard() *refusal {
	if x.wire != nil {
		if r := x.wire.Request().Refusal; r != nil {
			return &refusal{r.Status, r.Reason, r.Detail}
		}
	}
	h := &x.ctx.Request.Header
	if p := h.Protocol(); string(p) != "HTTP/1.1" && string(p) != "HTTP/1.0" {
		return &refuseVersion
	}
	x.method, x.target, x.raw, x.http10 = h.Method(), h.RequestURI(), h.RawHeaders(), !h.IsHTTP11()
	return x.canonical()
}

// canonical is guard for a request whose parts are known.
func (x *exchange) canonical() *refusal {
	if r := checkMethod(x.method); r != nil {
		return r
	}
	var r *refusal
	if x.lines, r = scan(x.lines[:0], x.raw); r != nil {
		return r
	}
	if r := x.framing(); r != nil {
		return r
	}
	nominate(x.lines)
	x.upgrade = x.upgrade && x.offersProtocol()
	authority, target, r := splitTarget(x.target, x.method)
	if r != nil {
		return r
	}
	if r := x.effectiveHost(authority); r != nil {
		return r
	}
	path, query, _ := bytes.Cut(target, []byte{'?'})
	x.hasQuery = len(path) < len(target)
	if x.path, x.odd, r = canonicalPath(x.path[:0], path); r != nil {
		return r
	}
	x.query, r = canonicalQuery(x.query[:0], query)
	return r
}

func checkMethod(method []byte) *refusal {
	for _, c := range method {
		if (c < 'A' || c > 'Z') && c != '-' {
			return &refuseMethod
		}
	}
	if len(method) == 0 || len(method) > 32 || string(method) == "CONNECT" {
		return &refuseMethod
	}
	return nil
}

// framing checks what says where the body ends (RFC 9112 §6.1, §6.3): this is
// where request smuggling begins.
func (x *exchange) framing() *refusal {
	lengths, codings := 0, 0
	for i := range x.lines {
		switch x.lines[i].kind {
		case kindLength:
			lengths++
			if !digits(x.lines[i].value) {
				return &refuseFraming
			}
		case kindCoding:
			codings++
			if !syntax.FoldEqual(x.lines[i].value, "chunked") {
				return &refuseCoding
			}
		case kindUpgrade:
			x.upgrade = true
		case kindTwin:
			return &refuseTwin
		}
	}
	if lengths > 1 || codings > 1 || lengths+codings > 1 {
		return &refuseFraming
	}
	switch {
	case x.wire != nil: // it has taken these lines out, and reads the body
		x.size = x.wire.Request().Size
	case codings == 1:
		x.size = -1
	default:
		x.size = int64(max(0, x.ctx.Request.Header.ContentLength()))
	}
	return nil
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0 && len(b) < 19
}

// splitTarget reads origin-form, absolute-form and asterisk-form (RFC 9112 §3.2).
func splitTarget(raw, method []byte) (authority, target []byte, r *refusal) {
	if len(raw) == 0 {
		return nil, nil, &refuseTarget
	}
	if raw[0] == '/' {
		return nil, raw, nil
	}
	if string(raw) == "*" && string(method) == "OPTIONS" {
		return nil, raw, nil
	}
	scheme := len("http://")
	if len(raw) <= scheme || !syntax.FoldEqual(raw[:scheme], "http://") {
		if scheme++; len(raw) <= scheme || !syntax.FoldEqual(raw[:scheme], "https://") {
			return nil, nil, &refuseTarget
		}
	}
	rest := raw[scheme:]
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		return rest, []byte{'/'}, nil
	}
	if rest[end] != '/' {
		return nil, nil, &refuseTarget
	}
	return rest[:end], rest[end:], nil
}

// effectiveHost settles the authority: one Host field, equal to that of an
// absolute target (RFC 9112 §3.2.2), in lower case.
func (x *exchange) effectiveHost(authority []byte) *refusal {
	var host []byte
	hosts := 0
	for i := range x.lines {
		if x.lines[i].kind == kindHost {
			hosts++
			host = x.lines[i].value
		}
	}
	if hosts > 1 || hosts == 0 && !x.http10 {
		return &refuseHost
	}
	if authority != nil {
		if hosts == 1 && !bytes.EqualFold(authority, host) {
			return &refuseHost
		}
		host = authority
	}
	if !validHost(host) && !(len(host) == 0 && x.http10) {
		return &refuseHost
	}
	x.host = x.host[:0]
	for _, c := range host {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		x.host = append(x.host, c)
	}
	return nil
}

// validHost allows uri-host and port (RFC 3986 §3.2.2), without user information.
func validHost(b []byte) bool {
	if len(b) == 0 || len(b) > 261 {
		return false
	}
	host, port := b, []byte(nil)
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return false
		}
		host, port = b[1:end], b[end+1:]
		if len(port) > 0 && port[0] != ':' || bytes.IndexByte(host, ':') < 0 {
			return false
		}
	} else if i := bytes.IndexByte(b, ':'); i >= 0 {
		host, port = b[:i], b[i:]
	}
	for _, c := range host {
		if !hostByte(c) && (c != ':' || b[0] != '[') {
			return false
		}
	}
	return len(host) > 0 && (len(port) == 0 || portOK(port[1:]))
}

// hostByte says whether c may stand in a registered name or an address.
func hostByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '.', '-', '_', '~', '%', '!', '$', '&', '\'', '(', ')', '*', '+', ';', '=':
		return true
	}
	return false
}

// portOK accepts a number up to 65535, or nothing (RFC 3986 §3.2.3).
func portOK(b []byte) bool {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > 65535 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

// canonicalPath appends the one form of a path: escapes of unreserved characters
// are undone, other escapes get capital digits, bytes that may not stand in a path
// are escaped (RFC 3986 §6.2.2). Dot segments, and escapes that hide a backslash or a
// control character, are refused: applications do not agree on what they mean. odd says
// what else the path has of which that is true, for the rule to judge.
func canonicalPath(dst, raw []byte) (path []byte, odd oddity, r *refusal) {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '%':
			d, ok := unhex(raw, i)
			if !ok || d < 0x20 || d == 0x7f || d == '\\' {
				return dst, odd, &refuseEscape
			}
			if d == '/' {
				odd |= oddSlash
			}
			if unreserved(d) {
				dst = append(dst, d)
			} else {
				dst = appendEscape(dst, d)
			}
			i += 2
		case c <= 0x20 || c == 0x7f || c == '\\' || c == '#':
			return dst, odd, &refuseTargetByte
		case pathByte(c):
			dst = append(dst, c)
		default:
			dst = appendEscape(dst, c)
		}
	}
	odd, r = checkSegments(dst, odd)
	return dst, odd, r
}

// canonicalQuery keeps the query as it is, but for bytes that may not stand in it.
func canonicalQuery(dst, raw []byte) ([]byte, *refusal) {
	for _, c := range raw {
		switch {
		case c <= 0x20 || c == 0x7f || c == '#':
			return dst, &refuseTargetByte
		case c >= 0x80 || c == '"' || c == '<' || c == '>' || c == '\\':
			dst = appendEscape(dst, c)
		default:
			dst = append(dst, c)
		}
	}
	return dst, nil
}

func unhex(b []byte, i int) (byte, bool) {
	if i+2 >= len(b) {
		return 0, false
	}
	hi, ok1 := syntax.HexDigit(b[i+1])
	lo, ok2 := syntax.HexDigit(b[i+2])
	return hi<<4 | lo, ok1 && ok2
}

func appendEscape(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}

func unreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}

// pathByte says whether c may stand in a path unescaped (RFC 3986 §3.3, pchar and "/").
func pathByte(c byte) bool {
	if unreserved(c) {
		return true
	}
	switch c {
	case '!', '$', '&', '\'', '(', ')', '*', '+', ',', ';', '=', ':', '@', '/':
		return true
	}
	return false
}
