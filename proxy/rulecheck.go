package proxy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/pillion-proxy/pillion/units"
)

// Problem is one mistake in a rule. Field is the key below the rule, such as
// rewrite.add_prefix; where the user chooses names, the name is its end:
// request_headers.set.X-Plan.
type Problem struct{ Field, Value, Message, Remedy string }

// maxFieldValue bounds a value of request_headers and response_headers.
const maxFieldValue = 4096

// CheckRule gives the mistakes in a rule's own part: rewrite, the header edits, max_body
// and allow. params are the parameters of its path; nil says that they are not known.
func CheckRule(r *Rule, params map[string]bool) []Problem {
	c := &ruleCheck{params: params, session: r.Session.Mode != sessioncheck.ModeNone}
	c.rewrite(r.Rewrite, r.Match.Path, params != nil)
	c.headers("request_headers", &r.RequestHeaders, true)
	c.headers("response_headers", &r.ResponseHeaders, false)
	if r.MaxBody < 0 || r.MaxBody > 1024*units.GiB {
		c.add("max_body", r.MaxBody.String(), "is out of range", "write a size up to 1024GiB, such as 200MiB")
	}
	for i, word := range r.Allow {
		if _, ok := oddities()[word]; !ok {
			c.add(fmt.Sprintf("allow[%d]", i), word, "is nothing that can be allowed", "write encoded_slash or empty_segment")
		}
	}
	c.csrf(&r.CSRF)
	return c.problems
}

// ruleCheck collects the mistakes of one rule.
type ruleCheck struct {
	params   map[string]bool
	session  bool
	problems []Problem
}

func (c *ruleCheck) add(field, value, message, remedy string) {
	if value == "" {
		message = "is empty"
	}
	c.problems = append(c.problems, Problem{field, value, message, remedy})
}

func (c *ruleCheck) found() bool { return len(c.problems) > 0 }

func (c *ruleCheck) headers(at string, h *HeaderEdit, request bool) {
	for i, name := range h.Remove {
		c.name(fmt.Sprintf("%s.remove[%d]", at, i), name, request, "remove")
	}
	for _, op := range []string{"set", "add"} {
		values, seen := h.Set, map[string]string{}
		if op == "add" {
			values = h.Add
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			field, lower := at+"."+op+"."+name, strings.ToLower(name)
			if other, twice := seen[lower]; twice {
				c.add(field, name, "is the same field as "+other, "write the field once")
				continue
			}
			seen[lower] = name
			if c.name(field, name, request, op) {
				c.value(field, normalField(name), values[name], request)
			}
		}
	}
}

// name checks the name of a field that is to be changed.
func (c *ruleCheck) name(field, name string, request bool, op string) bool {
	normal := normalField(name)
	switch {
	case !syntax.Token([]byte(name)):
		c.add(field, name, "is not a valid header name", "write letters, digits and hyphens, such as X-Plan")
	case normal == "host" && !(request && op == "set"):
		c.add(field, name, "says which site a request is for", "write it in request_headers.set, for the application alone")
	case slices.Contains(untouchable(), normal):
		c.add(field, name, "belongs to the connection, to the framing of the message or to the cache", "remove it")
	case request && op != "remove" && (conditional([]byte(normal)) || normal == "expect"):
		c.add(field, name, "would make the application answer with less than the whole", "remove it")
	default:
		return true
	}
	return false
}

// untouchable names the fields that no rule changes: the hop-by-hop ones (RFC 9110
// §7.6.1), those that frame a message, and those by which the cache speaks.
func untouchable() []string {
	return []string{
		"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
		"transfer-encoding", "upgrade", "content-length", "cache-status", "age", "date",
	}
}

func (c *ruleCheck) value(field, normal, value string, request bool) {
	switch v := []byte(value); {
	case value == "":
		c.add(field, value, "is empty", "write a value, or name the field in remove")
		return
	case len(v) > maxFieldValue:
		c.add(field, value, fmt.Sprintf("has more than %d bytes", maxFieldValue), "write a shorter value")
		return
	case syntax.HasControl(v) || len(syntax.TrimOWS(v)) != len(v):
		c.add(field, value, "has a control character, or white space at an end", "remove it")
		return
	}
	if !request {
		return
	}
	t, message, remedy := compileTemplate(value, c.params, c.session)
	switch {
	case message != "":
		c.add(field, value, message, remedy)
	case normal == "host" && len(t.parts) == 1 && t.parts[0].kind == partText && !validHost([]byte(value)):
		c.add(field, value, "is not a host", "write a name with an optional port, such as app.internal:8000")
	}
}

// problemsError makes one error of what CheckRule found.
func problemsError(problems []Problem) error {
	var list []error
	for _, p := range problems {
		list = append(list, fmt.Errorf("%s: %q %s: %s", p.Field, p.Value, p.Message, p.Remedy))
	}
	return errors.Join(list...)
}

// SessionFields lists the session fields that the rule's header values take.
func (r *Rule) SessionFields() (list []string) {
	for _, values := range []map[string]string{r.RequestHeaders.Set, r.RequestHeaders.Add} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if t, message, _ := compileTemplate(values[name], nil, true); message == "" {
				list = t.sessionFields(list)
			}
		}
	}
	return list
}

// MayCarryID says whether a field of this name can carry a request's id: it has no
// meaning of its own in HTTP, to an application or to pillion.
func MayCarryID(name string) bool {
	normal := normalField(name)
	special := append(untouchable(), "host", "cookie", "set-cookie", "authorization", "server", "via", "location", "vary", "etag", "expires")
	return kindOf([]byte(normal)) == kindPass && !conditional([]byte(normal)) && !slices.Contains(special, normal) &&
		!strings.HasPrefix(normal, "content-") && !strings.HasPrefix(normal, "accept")
}
