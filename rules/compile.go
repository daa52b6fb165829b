package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rule is one compiled Match.
type rule struct {
	segs    []segment // nil: any path
	params  []string  // names, in the order of the captures
	methods methodSet
	headers []condition
	query   []condition
	plain   bool // no condition but those of the index
}

// condition is a named value that must match.
type condition struct {
	name string
	glob glob
}

// Compile makes a table of the matches. Its error is Problems: every mistake in
// all of them.
func Compile(matches []Match) (*Table, error) {
	t := &Table{rules: make([]rule, len(matches)), all: newGroup()}
	var problems Problems
	for i := range matches {
		c := &collector{index: i}
		r, hosts := compileMatch(&matches[i], c)
		problems = append(problems, c.problems...)
		if len(c.problems) == 0 {
			t.rules[i] = r
			t.index(i, hosts)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return t, nil
}

// Check gives the mistakes in one Match; none when it can be compiled.
func Check(m Match) []Problem {
	c := &collector{}
	compileMatch(&m, c)
	return c.problems
}

func compileMatch(m *Match, c *collector) (rule, []string) {
	var r rule
	if m.Path != "" {
		r.segs = parsePattern(m.Path, c)
		for i := range r.segs {
			if name := r.segs[i].param; name != "" {
				r.params = append(r.params, name)
			}
		}
	}
	r.methods = compileMethods(m.Methods, c)
	hosts := compileHosts(m.Hosts, c)
	r.headers = compileHeaders(m.Headers, c)
	r.query = compileQuery(m.Query, c)
	r.plain = r.methods.any() && len(r.headers) == 0 && len(r.query) == 0
	return r, hosts
}

func compileHeaders(headers map[string]string, c *collector) []condition {
	var out []condition
	seen := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		field := "headers." + name
		lower := strings.ToLower(name)
		switch other, twice := seen[lower]; {
		case !isToken(name):
			c.add(field, name, "is not a header field name", "write letters, digits and -, such as X-Api-Version")
		case twice:
			c.add(field, name, "is the same field as "+other, "write the field once")
		case !isPrintable(headers[name]):
			c.add(field, headers[name], "holds a control character, which no field value has", "remove it")
		}
		seen[lower] = name
		out = append(out, condition{name, newGlob(headers[name])})
	}
	return out
}

func compileQuery(query map[string]string, c *collector) []condition {
	var out []condition
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if name == "" {
			c.add("query", name, "is not a parameter's name", "write the name of the parameter before the colon")
		}
		out = append(out, condition{name, newGlob(query[name])})
	}
	return out
}

// isToken checks for a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isLetter(s[i]) && !isDigit(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// methodSet is a set of request methods; empty means every method.
type methodSet struct {
	known uint16 // a bit for each of the methods that methodBit knows
	other []string
}

func (s *methodSet) any() bool { return s.known == 0 && len(s.other) == 0 }

func (s *methodSet) has(bit uint16, method []byte) bool {
	if bit != 0 {
		return s.known&bit != 0
	}
	for _, m := range s.other {
		if string(method) == m {
			return true
		}
	}
	return false
}

// methodBit gives a known method its bit, and 0 to any other.
func methodBit(method []byte) uint16 {
	switch string(method) {
	case "GET":
		return 1 << 0
	case "HEAD":
		return 1 << 1
	case "POST":
		return 1 << 2
	case "PUT":
		return 1 << 3
	case "DELETE":
		return 1 << 4
	case "PATCH":
		return 1 << 5
	case "OPTIONS":
		return 1 << 6
	case "CONNECT":
		return 1 << 7
	case "TRACE":
		return 1 << 8
	}
	return 0
}

func compileMethods(methods []string, c *collector) methodSet {
	var s methodSet
	for i, m := range methods {
		field := fmt.Sprintf("methods[%d]", i)
		switch {
		case !isToken(m):
			c.add(field, m, "is not a request method", "write a method such as GET")
		case m != strings.ToUpper(m):
			c.add(field, m, "is not in capitals, and methods are case-sensitive", "write "+strings.ToUpper(m))
		}
		bit := methodBit([]byte(m))
		if m == "GET" {
			bit |= methodBit([]byte("HEAD"))
		}
		if s.known |= bit; bit == 0 {
			s.other = append(s.other, m)
		}
	}
	return s
}
