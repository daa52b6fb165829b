package pillion

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

func (v *validator) rules() {
	names := map[string]int{}
	catchAll := -1
	for i, r := range v.cfg.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		v.ruleName(at+".name", r.Name)
		v.unique(at+".name", r.Name, "rules", names, i)
		before := len(v.mistakes)
		params := v.match(at+".match", r.Match)
		matchIsGood := len(v.mistakes) == before && !v.suspect(at+".match")
		if !matchIsGood {
			params = nil // what a tag may refer to is not known
		}
		v.sessionPolicy(at+".session", r.Session)
		v.upstreamName(at+".upstream", r.Upstream)
		v.cachePolicy(at+".cache", r, params)
		v.ownPart(at, &r, params)
		if catchAll >= 0 {
			v.add(at, r.Name, fmt.Sprintf("can never match, since rules[%d] before it matches every request", catchAll),
				fmt.Sprintf("move it before rules[%d]", catchAll))
		} else if matchIsGood && matchesAll(r.Match) {
			catchAll = i
		}
	}
}

// ownPart checks what the proxy itself does by a rule: rewrite, header edits, max_body
// and allow.
func (v *validator) ownPart(at string, r *proxy.Rule, params map[string]bool) {
	for _, p := range proxy.CheckRule(r, params) {
		key := at + "." + p.Field
		for _, op := range []string{"request_headers.set", "request_headers.add", "response_headers.set", "response_headers.add"} {
			if name, ok := strings.CutPrefix(p.Field, op+"."); ok {
				key = keyPath(at+"."+op, name)
			}
		}
		v.add(key, p.Value, p.Message, p.Remedy)
	}
	v.headerNames(at+".request_headers", r.RequestHeaders)
	v.headerNames(at+".response_headers", r.ResponseHeaders)
	if v.isSet(at+".max_body") && r.MaxBody == 0 {
		v.add(at+".max_body", "0B", "lets no body pass", "write a size, such as 200MiB, or remove the key for server.max_body")
	}
	v.twice(at+".allow", r.Allow, func(a, b string) bool { return a == b })
}

// headerNames checks the names of a header edit against the settings of others.
func (v *validator) headerNames(at string, h proxy.HeaderEdit) {
	const remedy = "use another header"
	for i, name := range h.Remove {
		v.notIdentityOf(v.element(at+".remove", i), name, remedy)
	}
	v.twice(at+".remove", h.Remove, strings.EqualFold)
	for i, values := range []map[string]string{h.Set, h.Add} {
		op := []string{"set", "add"}[i]
		for _, name := range slices.Sorted(maps.Keys(values)) {
			key := keyPath(at+"."+op, name)
			v.notIdentityOf(key, name, remedy)
			if v.cfg.Server.RequestID == "" && strings.Contains(values[name], "{request_id}") && strings.HasSuffix(at, "request_headers") {
				v.add(key, values[name], "has {request_id}, but server.request_id is empty", "set it, such as to X-Request-Id, or remove the placeholder")
			}
		}
	}
}

func matchesAll(m rules.Match) bool {
	return (m.Path == "" || m.Path == "/**") && len(m.Methods)+len(m.Hosts)+len(m.Headers)+len(m.Query) == 0
}

// ruleName bounds what becomes a metric label and a field of the log.
func (v *validator) ruleName(key, name string) {
	if ok, _ := regexp.MatchString(`^[A-Za-z0-9._-]{0,64}$`, name); !ok {
		v.add(key, name, "is not a valid rule name", "write 1 to 64 letters, digits, dots, - and _")
	}
}

// match checks the conditions, and gives the parameters that the path captures,
// or nil when it has a mistake.
func (v *validator) match(at string, m rules.Match) map[string]bool {
	if m.Path == "" && v.isSet(at+".path") {
		v.add(at+".path", "", "is empty", `write a path that begins with "/", or remove the key to match every path`)
	}
	v.notEmptyList(at+".methods", m.Methods != nil, len(m.Methods))
	v.notEmptyList(at+".hosts", m.Hosts != nil, len(m.Hosts))
	v.notEmptyList(at+".headers", m.Headers != nil, len(m.Headers))
	v.notEmptyList(at+".query", m.Query != nil, len(m.Query))
	problems := rules.Check(m)
	for _, p := range problems {
		key := at + "." + p.Field
		if name, ok := strings.CutPrefix(p.Field, "headers."); ok {
			key = keyPath(at+".headers", name)
		}
		v.add(key, p.Value, orEmpty(p.Value, p.Message), p.Remedy)
	}
	table, err := rules.Compile([]rules.Match{m})
	if err != nil {
		return nil
	}
	params := map[string]bool{}
	for _, name := range table.ParamNames(0) {
		params[name] = true
	}
	return params
}

// notEmptyList: an empty list of conditions looks like "none" and would mean "any".
func (v *validator) notEmptyList(key string, present bool, n int) {
	if present && n == 0 {
		v.add(key, "", "is empty, and would match every request", "name at least one, or remove the key")
	}
}

func (v *validator) sessionPolicy(at string, p sessioncheck.Policy) {
	if mode := v.modeKey(at); p.Mode != "" || v.isSet(mode) && mode != at {
		v.oneOf(mode, string(p.Mode), "a session mode", "none", "optional", "required")
	}
	v.onMissing(at, p)
	if p.Require == nil {
		return
	}
	if p.Mode == sessioncheck.ModeNone || p.Mode == sessioncheck.ModeOptional {
		v.add(at+".require", "", fmt.Sprintf("is set, but mode is %s", p.Mode), "write mode: required, or remove one of the two")
	}
	if len(p.Require) == 0 {
		v.add(at+".require", "", "is empty", "name a session field and its values, or remove the key")
	}
	for _, field := range slices.Sorted(maps.Keys(p.Require)) {
		if len(p.Require[field]) == 0 {
			v.add(keyPath(at+".require", field), "", "is empty, and no session could satisfy it", "write at least one value")
		}
	}
}

// modeKey gives the key of a policy's mode: the policy itself, when it was
// written as a single word.
func (v *validator) modeKey(at string) string {
	if v.isSet(at) && !v.isSet(at+".mode") {
		return at
	}
	return at + ".mode"
}

// tag checks the placeholders of a tag: {param} of the path, {session.field}.
func (v *validator) tag(key, tag string, r proxy.Rule, params map[string]bool) {
	if !v.bounded(key, tag, `write a name, such as "product:{id}"`) {
		return
	}
	for rest := tag; ; {
		text, after, open := strings.Cut(rest, "{")
		name, next, closed := strings.Cut(after, "}")
		if strings.Contains(text, "}") || open && (!closed || strings.Contains(name, "{")) {
			v.add(key, tag, "has a brace without its partner", "write {param} or {session.field}")
			return
		}
		if !open {
			return
		}
		v.placeholder(key, tag, name, r, params)
		rest = next
	}
}

func (v *validator) placeholder(key, tag, name string, r proxy.Rule, params map[string]bool) {
	field, isField := strings.CutPrefix(name, "session.")
	switch {
	case isField && field == "":
		v.add(key, tag, "has {session.} without a field", "write {session.field}, such as {session.user_id}")
	case isField && r.Session.Mode == sessioncheck.ModeNone:
		v.add(key, tag, fmt.Sprintf("has {%s}, but the rule has session: none", name), "remove the placeholder, or write session: required")
	case !isField && !params[name] && params != nil:
		v.add(key, tag, fmt.Sprintf("has {%s}, which the rule's path does not have", name), tagRemedy(params))
	}
}

func tagRemedy(params map[string]bool) string {
	if len(params) == 0 {
		return "write {name} in match.path, or {session.field}"
	}
	names := slices.Sorted(maps.Keys(params))
	return "write {" + strings.Join(names, "}, {") + "} or {session.field}"
}
