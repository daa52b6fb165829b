package proxy

import (
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// template is the value of a request field, compiled: fixed text and placeholders.
// It is immutable.
type template struct{ parts []part }

type part struct {
	kind partKind
	text string // fixed, or the name of a parameter or session field
}

type partKind uint8

const (
	partText partKind = iota
	partParam
	partSession
	partRequestID
	partClientIP
	partHost
	partPath
	partRule
)

// builtins are the placeholders that every rule has.
func builtins() map[string]partKind {
	return map[string]partKind{
		"request_id": partRequestID, "client_ip": partClientIP, "host": partHost, "path": partPath, "rule": partRule,
	}
}

const templateRemedy = "write {request_id}, {client_ip}, {host}, {path}, {rule}, {session.field} or a {param} of match.path; {{ and }} stand for braces"

// compileTemplate compiles a value. params are the parameters of the rule's path; with
// nil they are not known, and none is reported. The message is empty when all is well.
func compileTemplate(value string, params map[string]bool, session bool) (t *template, message, remedy string) {
	t = new(template)
	for rest := value; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			t.addText(rest)
			break
		}
		t.addText(rest[:i])
		if rest = rest[i:]; len(rest) > 1 && rest[1] == rest[0] {
			t.addText(rest[:1])
			rest = rest[2:]
			continue
		}
		end := strings.IndexByte(rest, '}')
		if end <= 0 || strings.IndexByte(rest[1:end], '{') >= 0 {
			return nil, "has a brace without its partner", templateRemedy
		}
		if message, remedy = t.addPlaceholder(rest[1:end], params, session); message != "" {
			return nil, message, remedy
		}
		rest = rest[end+1:]
	}
	return t, "", ""
}

// addText adds fixed text, to the part before it where that is text too.
func (t *template) addText(text string) {
	if n := len(t.parts); n > 0 && t.parts[n-1].kind == partText {
		t.parts[n-1].text += text
	} else if text != "" {
		t.parts = append(t.parts, part{partText, text})
	}
}

func (t *template) addPlaceholder(name string, params map[string]bool, session bool) (message, remedy string) {
	kind, builtin := builtins()[name]
	field, isField := strings.CutPrefix(name, "session.")
	switch {
	case builtin && params[name]:
		return "has {" + name + "}, which every rule has, and is a parameter of the rule's path too", "give the parameter another name"
	case builtin:
		t.parts = append(t.parts, part{kind: kind})
	case isField && (field == "" || slices.Contains(strings.Split(field, "."), "")):
		return "has {" + name + "}, which names no session field", "write {session.field}, such as {session.user_id}"
	case isField && !session:
		return "has {" + name + "}, but the rule has session: none", "remove the placeholder, or write session: required"
	case isField:
		t.parts = append(t.parts, part{partSession, field})
	case params != nil && !params[name]:
		return "has {" + name + "}, which is no placeholder, nor a parameter of the rule's path", templateRemedy
	default:
		t.parts = append(t.parts, part{partParam, name})
	}
	return "", ""
}

// expand appends the value for this request. It is false, with dst as it was, when a
// value is missing, or is none that a field can have: text of a session must never
// begin a line of its own.
func (x *exchange) expand(dst []byte, t *template) ([]byte, bool) {
	start := len(dst)
	for i := range t.parts {
		before := len(dst)
		if dst = x.appendPart(dst, &t.parts[i]); len(dst) == before {
			return dst[:start], false
		}
	}
	if v := dst[start:]; syntax.HasControl(v) || len(syntax.TrimOWS(v)) != len(v) {
		return dst[:start], false
	}
	return dst, true
}

// appendPart appends nothing for what is missing.
func (x *exchange) appendPart(dst []byte, p *part) []byte {
	switch p.kind {
	case partText:
		return append(dst, p.text...)
	case partParam:
		return append(dst, x.params.Get(p.text)...)
	case partRequestID:
		return append(dst, x.requestID()...)
	case partClientIP:
		if a := x.clientIP(); a.IsValid() {
			return a.AppendTo(dst)
		}
		return dst
	case partHost:
		return append(dst, x.host...)
	case partPath:
		return append(dst, x.path...)
	case partRule:
		return append(dst, x.route.name...)
	}
	if x.session == nil {
		return dst
	}
	// White space at the ends would be taken off by who reads the field, and a lone
	// surrogate reads as any other: both could make one user's value another's.
	v, ok := x.session.Field(p.text)
	if !ok || strings.TrimSpace(v) != v || strings.ContainsRune(v, utf8.RuneError) {
		return dst
	}
	return append(dst, v...)
}

// clientIP is the address that the request comes from: the peer's or, as long as that
// is trusted, what it says about its own. It is invalid where that is not known.
func (x *exchange) clientIP() netip.Addr {
	a := x.clientAddr()
	for i := len(x.lines) - 1; i >= 0; i-- {
		if x.lines[i].kind != kindFor {
			continue
		}
		for list := string(x.lines[i].value); list != ""; {
			if !x.snap.trusts(a) {
				return a
			}
			comma := strings.LastIndexByte(list, ',')
			said, err := netip.ParseAddr(strings.Trim(list[comma+1:], " \t"))
			if err != nil {
				return a // who cannot be read cannot be looked behind
			}
			a, list = said.Unmap(), list[:max(comma, 0)]
		}
	}
	return a
}

// sessionFields adds the session fields that the template takes to list.
func (t *template) sessionFields(list []string) []string {
	for _, p := range t.parts {
		if p.kind == partSession {
			list = append(list, p.text)
		}
	}
	return list
}
