package cache

import (
	"fmt"
	"strings"
	"testing"
)

func TestAppendKey(t *testing.T) {
	filter, err := CompileQuery(Query{Ignore: []string{"utm_*", "fbclid", "*_x*y"}})
	if err != nil {
		t.Fatal(err)
	}
	b := func(s string) []byte { return []byte(s) }
	for _, tt := range []struct {
		parts KeyParts
		want  string
	}{
		{KeyParts{Scope: ScopePublic, Host: b("Example.COM:8080"), Path: b("/A")}, "p;16:example.com:8080;2:/A"},
		{KeyParts{Scope: ScopeUser, Owner: b("Ann"), Host: b("h"), Path: b("/")}, "u3:Ann;1:h;1:/"},
		{KeyParts{Scope: ScopeSession, Owner: b("\x00;"), Host: b("h"), Path: b("/")}, "s2:\x00;;1:h;1:/"},
		{KeyParts{Scope: ScopePublic, Path: b("/?"), HasQuery: true}, "p;0:;2:/??"},
		{KeyParts{Scope: ScopePublic, Path: b("/"), Query: b("b=2&a=1&b=2"), HasQuery: true}, "p;0:;1:/?b=2&a=1&b=2"},
		{KeyParts{Scope: ScopePublic, Path: b("/"), Query: b("ignored without HasQuery")}, "p;0:;1:/"},
		{KeyParts{Scope: ScopePublic, Path: b("/"), Query: b("utm_a=1&b=2&utm_c&a=1&fbclid=3"), HasQuery: true, Filter: filter}, "p;0:;1:/?b=2&a=1"},
		{KeyParts{Scope: ScopePublic, Path: b("/"), Query: b("utm_a=1"), HasQuery: true, Filter: filter}, "p;0:;1:/"},
		{KeyParts{Scope: ScopePublic, Path: b("/"), Query: b(""), HasQuery: true, Filter: filter}, "p;0:;1:/?"},
		{KeyParts{Scope: ScopePublic, Path: b("/"), Query: b("&&utm_=1"), HasQuery: true, Filter: filter}, "p;0:;1:/?&"},
		{KeyParts{Scope: ScopePublic, Path: b("/"), Query: b("a_x__xy=1&a_xz=2&=3"), HasQuery: true, Filter: filter}, "p;0:;1:/?a_xz=2&=3"},
		// Poisoning by a separator that only the application knows.
		{KeyParts{Scope: ScopePublic, Path: b("/"), Query: b("utm_a=1;id=2"), HasQuery: true, Filter: filter}, "p;0:;1:/?utm_a=1;id=2"},
	} {
		if got, ok := AppendKey(nil, &tt.parts); !ok || string(got) != tt.want {
			t.Errorf("got %q %v, want %q", got, ok, tt.want)
		}
	}
	for _, p := range []KeyParts{
		{Path: b("/")}, {Scope: "all", Path: b("/")}, {Scope: ScopeUser, Path: b("/")}, {Scope: ScopeSession, Path: b("/")},
	} {
		if got, ok := AppendKey([]byte("kept"), &p); ok || string(got) != "kept" {
			t.Errorf("%+v gives %q", p, got)
		}
	}
	if host := b("HOST"); true {
		AppendKey(nil, &KeyParts{Scope: ScopePublic, Host: host})
		if string(host) != "HOST" {
			t.Error("the caller's host was changed")
		}
	}
}

func TestCompileQuery(t *testing.T) {
	if f, err := CompileQuery(Query{}); f != nil || err != nil {
		t.Errorf("no globs: %v %v", f, err)
	}
	_, err := CompileQuery(Query{Ignore: []string{"a", ""}})
	if err == nil || !strings.Contains(err.Error(), "query.ignore[1]") {
		t.Errorf("got %v", err)
	}
}

func TestMatchGlob(t *testing.T) {
	for _, tt := range []struct {
		glob, name string
		want       bool
	}{
		{"*", "", true}, {"*", "abc", true}, {"a*", "a", true}, {"a*", "ba", false}, {"*a", "bca", true}, {"*a", "ab", false},
		{"a*c", "abbc", true}, {"a*c", "acb", false}, {"a*b*c", "axbxbxc", true}, {"**", "x", true}, {"abc", "abc", true},
		{"abc", "abcd", false}, {"abc", "ab", false}, {"A", "a", false}, {"*.*", "a.b", true}, {"a*a", "a", false},
	} {
		if got := matchGlob(tt.glob, []byte(tt.name)); got != tt.want {
			t.Errorf("%q on %q: %v", tt.glob, tt.name, got)
		}
	}
}

// Different requests have different keys.
func FuzzAppendKey(f *testing.F) {
	f.Add("u", "h", "/", "q", true, "u1:h;", "", "/?q", "", false)
	f.Fuzz(func(t *testing.T, o1, h1, p1, q1 string, has1 bool, o2, h2, p2, q2 string, has2 bool) {
		key := func(scope Scope, o, h, p, q string, has bool) string {
			if !has {
				q = ""
			}
			k, ok := AppendKey(nil, &KeyParts{Scope: scope, Owner: []byte(o), Host: []byte(h), Path: []byte(p), Query: []byte(q), HasQuery: has})
			if ok != (scope == ScopePublic || o != "") {
				t.Fatalf("%q %q: ok is %v", scope, o, ok)
			}
			if !ok {
				return ""
			}
			return string(k)
		}
		id := func(scope Scope, o, h, p, q string, has bool) string {
			if !has {
				q = ""
			}
			if scope == ScopePublic {
				o = ""
			}
			return fmt.Sprintf("%q %q %q %q %q %v", scope, o, asciiLower(h), p, q, has)
		}
		scopes := []Scope{ScopePublic, ScopeUser, ScopeSession}
		for _, s1 := range scopes {
			for _, s2 := range scopes {
				k1, k2 := key(s1, o1, h1, p1, q1, has1), key(s2, o2, h2, p2, q2, has2)
				same := id(s1, o1, h1, p1, q1, has1) == id(s2, o2, h2, p2, q2, has2)
				if k1 != "" && k2 != "" && (k1 == k2) != same {
					t.Fatalf("keys %q and %q, requests the same: %v", k1, k2, same)
				}
			}
		}
	})
}

func asciiLower(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lower(b[i])
	}
	return string(b)
}

func TestKeyNames(t *testing.T) {
	h, v := HashKey([]byte("p;1:h;1:/")), HashKey([]byte("variant"))
	text := string(h.AppendText(nil))
	if len(text) != 22 || strings.ContainsAny(text, "{}*?[]\\") {
		t.Errorf("hash is written %q", text)
	}
	for got, want := range map[string]string{
		KeyName("pillion:", h):                   "pillion:c:{" + text + "}",
		LeaseName("pillion:", h):                 "pillion:l:{" + text + "}",
		VariantName("pillion:", h, v):            "pillion:c:{" + text + "}" + string(v.AppendText(nil)),
		TagName("pillion:", []byte("product:1")): "pillion:t:product:1",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if HashKey([]byte("a")) == HashKey([]byte("b")) || h != HashKey([]byte("p;1:h;1:/")) {
		t.Error("the hash is not one")
	}
}

func TestKeyDoesNotAllocate(t *testing.T) {
	filter, _ := CompileQuery(Query{Ignore: []string{"utm_*"}})
	p := KeyParts{Scope: ScopeUser, Owner: []byte("42"), Host: []byte("Example.com"), Path: []byte("/a/b"), Query: []byte("utm_a=1&b=2"), HasQuery: true, Filter: filter}
	buf, name := make([]byte, 0, 512), make([]byte, 0, 128)
	if a := testing.AllocsPerRun(100, func() {
		key, _ := AppendKey(buf, &p)
		AppendKeyName(name, "pillion:", HashKey(key))
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkAppendKey(b *testing.B) {
	filter, _ := CompileQuery(Query{Ignore: []string{"utm_*"}})
	p := KeyParts{Scope: ScopePublic, Host: []byte("example.com"), Path: []byte("/api/products/42"), Query: []byte("utm_a=1&b=2"), HasQuery: true, Filter: filter}
	buf, name := make([]byte, 0, 512), make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		key, _ := AppendKey(buf, &p)
		AppendKeyName(name, "pillion:", HashKey(key))
	}
}
