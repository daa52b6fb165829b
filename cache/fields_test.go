package cache

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// header builds a Header from "Name: value" lines.
func header(lines ...string) Header {
	var h Header
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		h = append(h, Field{Name: []byte(name), Value: []byte(strings.TrimSpace(value))})
	}
	return h
}

func texts(seq func(func([]byte) bool)) []string {
	var out []string
	for b := range seq {
		out = append(out, string(b))
	}
	return out
}

func TestHeaderLookup(t *testing.T) {
	h := header("ETag: 1", "X-A: one", "x-a: two", "Empty:")
	if got := string(h.Get("etag")); got != "1" {
		t.Errorf("Get(etag) = %q", got)
	}
	if got := string(h.Get("X-A")); got != "one" {
		t.Errorf("Get gives %q, not the first line", got)
	}
	if h.Get("none") != nil || h.Has("none") || !h.Has("EMPTY") {
		t.Error("absent and empty are confused")
	}
	if got := texts(h.Values("X-A")); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("Values = %q", got)
	}
	for range h.Values("X-A") {
		break // must not yield again
	}
	for range h.List("X-A") {
		break
	}
	// U+212A, the Kelvin sign, folds to k in Unicode.
	if header("\u212aey: 1").Has("key") {
		t.Error("names fold as Unicode")
	}
}

func TestAppendJoined(t *testing.T) {
	h := header("a: 1", "B: x", "A: 2, 3")
	got, ok := h.AppendJoined([]byte("="), []byte("a"))
	if string(got) != "=1, 2, 3" || !ok {
		t.Errorf("got %q %v", got, ok)
	}
	if got, ok = h.AppendJoined(nil, []byte("c")); ok || len(got) > 0 {
		t.Errorf("absent: got %q %v", got, ok)
	}
}

// RFC 9110 §5.6.1 (lists) and §5.6.4 (quoted strings).
func TestList(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  []string
	}{
		{[]string{"L: a, b,c"}, []string{"a", "b", "c"}},
		{[]string{"L: a", "other: x", "l: b"}, []string{"a", "b"}},
		{[]string{"L: , a ,,\t b ,"}, []string{"a", "b"}},
		{[]string{"L:"}, nil},
		{[]string{`L: a="x, y", b`}, []string{`a="x, y"`, "b"}},
		{[]string{`L: a="x\", y", b`}, []string{`a="x\", y"`, "b"}},
		{[]string{`L: a="x, no-store`}, []string{`a="x`, "no-store"}},
		{[]string{`L: "a,b", x", c, "d, e"`}, []string{`"a,b"`, `x", c, "d`, `e"`}},
		{[]string{`L: a="\"`, "L: b"}, []string{`a="\"`, "b"}},
	} {
		if got := texts(header(tt.lines...).List("L")); !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.lines, got, tt.want)
		}
	}
}

func TestHeaderDoesNotAllocate(t *testing.T) {
	h := header("Cache-Control: a, b", "X: 1", "cache-control: c")
	n := 0
	if a := testing.AllocsPerRun(100, func() {
		for range h.List("Cache-Control") {
			n++
		}
		for range h.Values("X") {
			n++
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

// What Connection names and what concerns one hop is not stored: RFC 9111 §3.1.
func TestAppendStored(t *testing.T) {
	in := header("Connection: a, B", "A: 1", "b: 2", "c: 3", "Keep-Alive: 1", "Proxy-Authenticate: 1",
		"Proxy-Authentication-Info: 1", "Proxy-Authorization: 1", "Proxy-Connection: 1", "TE: 1", "Trailer: x",
		"Transfer-Encoding: chunked", "Upgrade: 1", "Content-Length: 5", "Age: 4", "Date: now",
		"Content-Security-Policy: x", "connection: etag", "ETag: 1", "Cache-Control: max-age=1")
	var got []string
	for _, f := range AppendStored(nil, in) {
		got = append(got, string(f.Name))
	}
	want := []string{"c", "Date", "Content-Security-Policy", "Cache-Control"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeaderBlock(t *testing.T) {
	in := header("A: 1", "b:", "C: x: y")
	in = append(in, Field{[]byte("D"), []byte("1\r\nSet-Cookie: x")}, Field{[]byte("bad name"), nil}, Field{})
	block := AppendHeader(nil, in)
	if want := "A: 1\r\nb: \r\nC: x: y\r\n"; string(block) != want {
		t.Fatalf("block %q, want %q", block, want)
	}
	out, ok := ParseHeader(nil, block)
	if !ok || len(out) != 3 || string(out[2].Value) != "x: y" || string(out[1].Value) != "" {
		t.Errorf("parsed %q %v", out, ok)
	}
	for _, bad := range []string{"A: 1", "A 1\r\n", ": 1\r\n", " A: 1\r\n", "\r\n", "A: \r\r\n", "A: x\nB: y\r\n"} {
		if _, ok := ParseHeader(nil, []byte(bad)); ok {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("A: 1\r\nB: 2\r\n"))
	f.Fuzz(func(t *testing.T, block []byte) {
		h, ok := ParseHeader(nil, block)
		if !ok {
			return
		}
		again, ok := ParseHeader(nil, AppendHeader(nil, h))
		if !ok || !reflect.DeepEqual(again, h) {
			t.Fatalf("%q gives %q, which gives %q", block, h, again)
		}
	})
}

// Elements never contain more than the value holds, and end.
func FuzzList(f *testing.F) {
	f.Add([]byte(`a, "b,c", d="\", e`))
	f.Fuzz(func(t *testing.T, value []byte) {
		total := 0
		c := listCursor{rest: value}
		for e, ok := c.next(); ok; e, ok = c.next() {
			if len(e) == 0 || isSpace(e[0]) || isSpace(e[len(e)-1]) {
				t.Fatalf("element %q of %q", e, value)
			}
			total += len(e) + 1
		}
		if total > len(value)+1 {
			t.Fatalf("%q: %d bytes of elements", value, total)
		}
	})
}
