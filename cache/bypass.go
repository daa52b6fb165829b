package cache

import (
	"fmt"
	"maps"
	"slices"
)

// BypassFilter is a compiled Bypass. It is immutable and safe for concurrent use.
type BypassFilter struct{ headers, cookies, query []bypassTest }

type bypassTest struct{ name, glob string }

// CompileBypass compiles a rule's bypass conditions; nil means that there are none.
// The error names the setting that cannot be used.
func CompileBypass(b Bypass) (*BypassFilter, error) {
	f := &BypassFilter{}
	for _, part := range []struct {
		name  string
		from  map[string]string
		to    *[]bypassTest
		token bool
	}{{"headers", b.Headers, &f.headers, true}, {"cookies", b.Cookies, &f.cookies, true}, {"query", b.Query, &f.query, false}} {
		for _, name := range slices.Sorted(maps.Keys(part.from)) {
			if name == "" || part.token && !isToken([]byte(name)) {
				return nil, fmt.Errorf("bypass.%s has the name %q: write a name such as %q", part.name, name, "preview")
			}
			*part.to = append(*part.to, bypassTest{name, part.from[name]})
		}
	}
	if len(f.headers)+len(f.cookies)+len(f.query) == 0 {
		return nil, nil
	}
	return f, nil
}

// Matches reports whether a request bypasses the cache: one of the fields, cookies
// or parameters is there and its value matches the glob, "*" being any text and ""
// the empty one. Names of fields are compared without regard to case, the others as
// they are, parameters also in their encoded spellings. A name that comes several
// times matches when one of its values does. It does not allocate but for encoded
// parameters.
func (f *BypassFilter) Matches(request Header, query []byte) bool {
	if f == nil {
		return false
	}
	for _, t := range f.headers {
		for i := range request {
			if equalFold(request[i].Name, t.name) && matchGlob(t.glob, trimSpace(request[i].Value)) {
				return true
			}
		}
	}
	if len(f.cookies) > 0 && f.cookie(request) {
		return true
	}
	return len(f.query) > 0 && f.parameter(query)
}

func (f *BypassFilter) cookie(request Header) bool {
	for i := range request {
		if !equalFold(request[i].Name, "Cookie") {
			continue
		}
		for name, value := range Cookies(request[i].Value) {
			for _, t := range f.cookies {
				if string(name) == t.name && matchGlob(t.glob, value) {
					return true
				}
			}
		}
	}
	return false
}

func (f *BypassFilter) parameter(query []byte) bool {
	for name, value := range parameters(query) {
		for _, t := range f.query {
			if decodedIs(name, t.name) && matchGlob(t.glob, decoded(value)) {
				return true
			}
		}
	}
	return false
}
