package proxy

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// requestEdit is rules[].request_headers, compiled. It is immutable.
type requestEdit struct {
	drop     []string // removed or set, in the form that twinEqual takes
	set, add []requestField
	host     *template
}

type requestField struct {
	name  string
	value *template
}

// responseEdit is rules[].response_headers, compiled. It is immutable.
type responseEdit struct {
	drop  [][]byte      // removed or set
	lines []responseSet // what is set, then what is added
}

type responseSet struct{ name, value []byte }

// compileRequestEdit compiles what CheckRule found to be right; nil changes nothing.
func compileRequestEdit(h *HeaderEdit) *requestEdit {
	if len(h.Set)+len(h.Add)+len(h.Remove) == 0 {
		return nil
	}
	e := new(requestEdit)
	for _, name := range h.Remove {
		e.drop = append(e.drop, normalField(name))
	}
	e.set, e.add = requestFields(h.Set), requestFields(h.Add)
	e.set = slices.DeleteFunc(e.set, func(f requestField) bool {
		if normalField(f.name) != "host" {
			e.drop = append(e.drop, normalField(f.name))
			return false
		}
		e.host = f.value
		return true
	})
	return e
}

func requestFields(values map[string]string) (out []requestField) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		t, _, _ := compileTemplate(values[name], nil, true)
		out = append(out, requestField{name, t})
	}
	return out
}

func compileResponseEdit(h *HeaderEdit) *responseEdit {
	if len(h.Set)+len(h.Add)+len(h.Remove) == 0 {
		return nil
	}
	e := new(responseEdit)
	for _, name := range h.Remove {
		e.drop = append(e.drop, []byte(name))
	}
	for _, name := range slices.Sorted(maps.Keys(h.Set)) {
		e.drop = append(e.drop, []byte(name))
		e.lines = append(e.lines, responseSet{[]byte(name), []byte(h.Set[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(h.Add)) {
		e.lines = append(e.lines, responseSet{[]byte(name), []byte(h.Add[name])})
	}
	return e
}

// normalField gives a name as twinEqual compares: an application may take "_" for "-".
func normalField(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

func (e *requestEdit) drops(name []byte) bool {
	for _, d := range e.drop {
		if twinEqual(name, d) {
			return true
		}
	}
	return false
}

// touches says whether the application gets the field as the rule makes it.
func (e *requestEdit) touches(name []byte) bool {
	return e != nil && (e.drops(name) || slices.ContainsFunc(e.add, func(f requestField) bool { return foldEqualFold(name, f.name) }))
}

// editHead applies the rule's request_headers to the lines of a request head from
// start on.
func (x *exchange) editHead(b []byte, start int) []byte {
	e := x.route.requestEdit
	if e == nil {
		return b
	}
	out := start
	for at := start; at < len(b); {
		end := at + bytes.IndexByte(b[at:], '\n') + 1
		if name, _, _ := bytes.Cut(b[at:end], []byte{':'}); !e.drops(name) {
			out += copy(b[out:], b[at:end])
		}
		at = end
	}
	b = b[:out]
	for _, fields := range [...][]requestField{e.set, e.add} {
		for i := range fields {
			before := len(b)
			b = append(append(b, fields[i].name...), ": "...)
			var ok bool
			if b, ok = x.expand(b, fields[i].value); !ok {
				b = b[:before]
				continue
			}
			b = append(b, '\r', '\n')
		}
	}
	return b
}

// appendAppHost appends the Host that the application gets.
func (x *exchange) appendAppHost(b []byte) []byte {
	if e := x.route.requestEdit; e != nil && e.host != nil {
		before := len(b)
		if b, ok := x.expand(b, e.host); ok && validHost(b[before:]) {
			return b
		}
	}
	return append(b, x.host...)
}

// appendEdited appends all values of a field that the rule touches as one, as the
// application gets them: it is these that its Vary speaks of, and were the client's
// counted, users with other session fields would share a response.
func (x *exchange) appendEdited(dst, name []byte, e *requestEdit) ([]byte, bool) {
	found := false
	comma := func() {
		if found {
			dst = append(dst, ", "...)
		}
	}
	for i := range x.lines {
		if l := &x.lines[i]; !e.drops(name) && bytes.EqualFold(l.name, name) {
			comma()
			dst, found = append(dst, l.value...), true
		}
	}
	for _, fields := range [...][]requestField{e.set, e.add} {
		for i := range fields {
			if !foldEqualFold(name, fields[i].name) {
				continue
			}
			before := len(dst)
			comma()
			var ok bool
			if dst, ok = x.expand(dst, fields[i].value); !ok {
				dst = dst[:before]
			}
			found = found || ok
		}
	}
	return dst, found
}

// editResponse applies the rule's response_headers to what the client gets. It is the
// last that is done to a header, so that what is stored stays as the application sent it.
func (x *exchange) editResponse() {
	if x.route == nil || x.route.responseEdit == nil {
		return
	}
	h, e := &x.ctx.Response.Header, x.route.responseEdit
	for _, name := range e.drop {
		h.DelBytes(name)
	}
	for i := range e.lines {
		h.AddBytesKV(e.lines[i].name, e.lines[i].value)
	}
}
