package proxy

import (
	"bytes"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// line is one field line of a request header. Its bytes alias fasthttp's copy of
// the header as it came over the wire, and live as long as the request.
type line struct {
	name, value []byte
	kind        kind
}

// kind says what pillion itself does with a field.
type kind uint8

const (
	kindPass       kind = iota
	kindHop             // hop-by-hop (RFC 9110 §7.6.1): never forwarded
	kindConnection      // the list of further hop-by-hop fields
	kindHost
	kindLength
	kindCoding    // Transfer-Encoding
	kindExpect    // answered here
	kindForwarded // Forwarded and X-Forwarded-*: made anew
	kindFor       // X-Forwarded-For
	kindProto     // X-Forwarded-Proto
	kindFwdHost   // X-Forwarded-Host
	kindPrefix    // X-Forwarded-Prefix
	kindAuthorization
	kindCacheControl
	kindPragma
	kindRange
	kindUpgrade
	kindPrecondition // If-Match, If-Unmodified-Since
	kindMaxForwards
	kindTwin // a framing field with underscores: CGI-like servers cannot tell the two apart
)

// kindOf classifies a field name. An underscore counts as a hyphen for the fields
// that say where a request comes from: CGI-like servers cannot tell the two apart.
func kindOf(name []byte) kind {
	if len(name) == 0 {
		return kindPass
	}
	switch name[0] | 0x20 {
	case 'a':
		return only(name, "authorization", kindAuthorization)
	case 'c':
		switch {
		case syntax.FoldEqual(name, "connection"):
			return kindConnection
		case syntax.FoldEqual(name, "content-length"):
			return kindLength
		case twinEqual(name, "content-length"):
			return kindTwin
		case syntax.FoldEqual(name, "cache-control"):
			return kindCacheControl
		}
	case 'e':
		return only(name, "expect", kindExpect)
	case 'f':
		return only(name, "forwarded", kindForwarded)
	case 'h':
		if syntax.FoldEqual(name, "http2-settings") {
			return kindHop
		}
		return only(name, "host", kindHost)
	case 'i':
		if syntax.FoldEqual(name, "if-match") || syntax.FoldEqual(name, "if-unmodified-since") {
			return kindPrecondition
		}
	case 'k':
		return only(name, "keep-alive", kindHop)
	case 'm':
		return only(name, "max-forwards", kindMaxForwards)
	case 'p':
		switch {
		case syntax.FoldEqual(name, "pragma"):
			return kindPragma
		case syntax.FoldEqual(name, "proxy-connection"), syntax.FoldEqual(name, "proxy-authorization"),
			syntax.FoldEqual(name, "proxy-authenticate"):
			return kindHop
		}
	case 'r':
		return only(name, "range", kindRange)
	case 't':
		switch {
		case syntax.FoldEqual(name, "te"), syntax.FoldEqual(name, "trailer"):
			return kindHop
		case syntax.FoldEqual(name, "transfer-encoding"):
			return kindCoding
		case twinEqual(name, "transfer-encoding"):
			return kindTwin
		}
	case 'u':
		return only(name, "upgrade", kindUpgrade)
	case 'x':
		return kindOfX(name)
	}
	return kindPass
}

func only(name []byte, lower string, k kind) kind {
	if syntax.FoldEqual(name, lower) {
		return k
	}
	return kindPass
}

func kindOfX(name []byte) kind {
	switch {
	case twinEqual(name, "x-forwarded-for"):
		return kindFor
	case twinEqual(name, "x-forwarded-proto"):
		return kindProto
	case twinEqual(name, "x-forwarded-host"):
		return kindFwdHost
	case twinEqual(name, "x-forwarded-prefix"):
		return kindPrefix
	}
	return kindPass
}

// twinEqual is foldEqual with every character of b that is neither letter nor digit
// counting as '-': CGI-like servers cannot tell them apart, and some turn all of them
// into the same.
func twinEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := b[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case (c < 'a' || c > 'z') && (c < '0' || c > '9'):
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// maxLines bounds the field lines of a request.
const maxLines = 256

// scan splits a raw header block into lines. It refuses what fasthttp lets pass:
// folded lines (RFC 9112 §5.2), bare CR or LF, and names that are not tokens.
func scan(dst []line, raw []byte) ([]line, *refusal) {
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return dst, &refuseLineEnd
		}
		l := raw[:end-1]
		raw = raw[end+1:]
		if len(l) == 0 {
			break
		}
		if len(dst) == maxLines {
			return dst, &refuseTooManyFields
		}
		if l[0] == ' ' || l[0] == '\t' {
			return dst, &refuseFold
		}
		colon := bytes.IndexByte(l, ':')
		if colon < 1 || !syntax.Token(l[:colon]) {
			return dst, &refuseFieldName
		}
		value := syntax.TrimOWS(l[colon+1:])
		if syntax.HasControl(value) {
			return dst, &refuseFieldValue
		}
		dst = append(dst, line{name: l[:colon], value: value, kind: kindOf(l[:colon])})
	}
	return dst, nil
}

// nextElement cuts the first element off a comma-separated list (RFC 9110 §5.6.1).
func nextElement(list []byte) (element, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return syntax.TrimOWS(list[:i]), list[i+1:]
	}
	return syntax.TrimOWS(list), nil
}

// nominate marks the lines that Connection fields name as hop-by-hop (RFC 9110
// §7.6.1). Framing and routing fields keep their kind: no client can make them
// disappear by naming them.
func nominate(lines []line) {
	for i := range lines {
		if lines[i].kind != kindConnection {
			continue
		}
		for list := lines[i].value; len(list) > 0; {
			var name []byte
			name, list = nextElement(list)
			for j := range lines {
				if lines[j].kind == kindPass && len(lines[j].name) == len(name) && bytes.EqualFold(lines[j].name, name) {
					lines[j].kind = kindHop
				}
			}
		}
	}
}
