package proxy

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

func TestTraceID(t *testing.T) {
	const trace, rest = "4bf92f3577b34da6a3ce929d0e0e4736", "-00f067aa0ba902b7-01"
	for text, want := range map[string]string{
		"00-" + trace + rest:                          trace,
		"00-" + trace + "-00f067aa0ba902b7-ff":        trace,
		"01-" + trace + rest:                          trace,
		"01-" + trace + rest + "-more":                trace,
		"00-" + trace + rest + "-more":                "",
		"01-" + trace + rest + "more":                 "",
		"ff-" + trace + rest:                          "",
		"00-" + strings.ToUpper(trace) + rest:         "",
		"00-" + strings.Repeat("0", 32) + rest:        "",
		"00-" + trace + "-" + strings.Repeat("0", 16): "",
		"00-" + trace + "-0000000000000000-01":        "",
		"00-" + trace[1:] + "g" + rest:                "",
		"00_" + trace + rest:                          "",
		"":                                            "",
		"00-" + trace + "-00f067aa0ba902b7-0":         "",
	} {
		if got := string(traceIDOf([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzTraceID: an id that is found is one that a log can hold.
func FuzzTraceID(f *testing.F) {
	f.Add([]byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	f.Add([]byte("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		id := traceIDOf(in)
		if id != nil && (len(id) != 32 || !lowerHex(id) || allZero(id) || !bytes.Equal(id, in[3:35])) {
			t.Errorf("%q: %q", in, id)
		}
	})
}

// FuzzCanonicalPath: a path that is taken is its own canonical form, and no reading of it
// has what every rule refuses.
func FuzzCanonicalPath(f *testing.F) {
	for _, path := range []string{"/a/b", "/a%2Fb", "/a//b", "/a%2f..%2Fb", "/%2F", "//", "/a%2F;/..;x", "/%252f", "*", "/.%2f.", "/a/%2F/b/", "/a;x%2Fb/c;d", "/;/;%2F;"} {
		f.Add([]byte(path))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		path, odd, r := canonicalPath(nil, raw)
		if r != nil || len(path) == 0 || path[0] != '/' {
			return
		}
		again, same, r := canonicalPath(nil, path)
		if r != nil || same != odd || !bytes.Equal(again, path) {
			t.Fatalf("%q is %q (%b), and that is %q (%b) %v", raw, path, odd, again, same, r)
		}
		if odd == 0 && (bytes.Contains(path, []byte("%2F")) || bytes.Contains(path, []byte("//"))) {
			t.Errorf("%q: nothing odd was found", path)
		}
		for _, as := range readings(odd) {
			read := appendReading(nil, path, as)
			_, left, r := canonicalPath(nil, read)
			if r != nil {
				t.Errorf("%q reads as %q, which is refused: %s", path, read, r.reason)
			}
			if as.decode && left&oddSlash != 0 || as.decode && as.merge && left&oddEmpty != 0 || as.cut && left&oddParam != 0 {
				t.Errorf("%q reads as %q, in which something odd is left", path, read)
			}
		}
	})
}

// FuzzTemplate: what compiles expands to field values, or to nothing.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"a", "{id}", "{{{id}}}", "{rule} {path}", "{", "}", "{}", "{session.}", "{session.a}", "}}{{", "a{id}b{id"} {
		f.Add(text, "v")
	}
	f.Add("{path}", "a\r\nX: 1")
	f.Fuzz(func(t *testing.T, text, value string) {
		tpl, message, remedy := compileTemplate(text, map[string]bool{"id": true}, true)
		if (message == "") != (tpl != nil) || message != "" && remedy == "" {
			t.Fatalf("%q: %v, %q, %q", text, tpl, message, remedy)
		}
		if tpl == nil {
			return
		}
		x := &exchange{path: []byte(value), host: []byte("h")}
		x.snap, x.route = &snapshot{}, &route{name: "r"}
		out, ok := x.expand([]byte("before"), tpl)
		if !bytes.HasPrefix(out, []byte("before")) || !ok && len(out) != len("before") {
			t.Fatalf("%q: %q %t", text, out, ok)
		}
		if v := out[len("before"):]; syntax.HasControl(v) || len(syntax.TrimOWS(v)) != len(v) {
			t.Errorf("%q: %q is no field value", text, v)
		}
	})
}

// FuzzStrip: a path without its prefix is a path, and the prefix before it is what came.
func FuzzStrip(f *testing.F) {
	f.Add("/api", "/api/x")
	f.Add("/api", "/apix")
	f.Add("/api", "/api")
	f.Fuzz(func(t *testing.T, prefix, path string) {
		c := new(ruleCheck)
		if c.prefix("p", prefix); c.found() || prefix == "" || !strings.HasPrefix(path, "/") {
			return
		}
		rest, stripped := (&Rewrite{StripPrefix: prefix}).strip([]byte(path))
		if len(rest) == 0 || rest[0] != '/' {
			t.Fatalf("%s off %s leaves %q", prefix, path, rest)
		}
		inside := path == prefix || strings.HasPrefix(path, prefix+"/")
		if stripped != inside || !stripped && string(rest) != path || stripped && path != prefix && prefix+string(rest) != path {
			t.Errorf("%s off %s leaves %q (%t)", prefix, path, rest, stripped)
		}
	})
}

func TestPutHex(t *testing.T) {
	for _, v := range []uint64{0, 1, 9, 10, 15, 16, 0x0123456789abcdef, 0xfedcba9876543210, 1 << 63, math.MaxUint64} {
		var dst [16]byte
		if putHex(dst[:], v); string(dst[:]) != fmt.Sprintf("%016x", v) {
			t.Errorf("%016x: %s", v, dst)
		}
	}
}
