package cache

import (
	"strings"
	"testing"
)

func TestQueryFilterOnlyAndSort(t *testing.T) {
	for _, tt := range []struct {
		name string
		q    Query
		in   string
		want string
	}{
		{"only", Query{Only: []string{"id", "p*"}}, "x=1&id=2&page=3&id=4", "?id=2&page=3&id=4"},
		{"only none", Query{Only: []string{"id"}}, "x=1", ""},
		{"only and ignore", Query{Only: []string{"p*"}, Ignore: []string{"pw"}}, "pw=1&page=2", "?page=2"},
		{"only, no names", Query{Only: []string{"id"}}, "&&id=1&", "?id=1"},
		{"only keeps what it cannot read", Query{Only: []string{"id"}}, "%69d=1&i+d=2&x;id=3&x=4", "?%69d=1&i+d=2&x;id=3"},
		{"sort", Query{Sort: true}, "b=1&a=2&c", "?a=2&b=1&c"},
		{"sort is stable", Query{Sort: true}, "b=2&a=9&b=1&a=3", "?a=9&a=3&b=2&b=1"},
		{"sort by names only", Query{Sort: true}, "a-b=1&a=2", "?a=2&a-b=1"},
		{"sort and ignore", Query{Sort: true, Ignore: []string{"u"}}, "z&u=1&a", "?a&z"},
		{"sort empty", Query{Sort: true}, "", "?"},
		{"sort too many", Query{Sort: true}, strings.Repeat("b&", maxSortParams) + "a", "?" + strings.Repeat("b&", maxSortParams) + "a"},
		{"sort too long", Query{Sort: true}, strings.Repeat("b", maxSortBytes) + "&a", "?" + strings.Repeat("b", maxSortBytes) + "&a"},
	} {
		f, err := CompileQuery(tt.q)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.append([]byte("key"), []byte(tt.in))); got != "key"+tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if _, err := CompileQuery(Query{Only: []string{"a", ""}}); err == nil || !strings.Contains(err.Error(), "query.only[1]") {
		t.Errorf("got %v", err)
	}
	f, _ := CompileQuery(Query{Only: []string{"*"}, Ignore: []string{"utm_*"}, Sort: true})
	dst, query := make([]byte, 0, 256), []byte("page=2&utm_source=x&id=1&filter=abc")
	if a := testing.AllocsPerRun(100, func() { f.append(dst, query) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func TestAppendExtra(t *testing.T) {
	extra := func(parts ...string) string {
		var dst []byte
		for _, p := range parts {
			name, value, present := strings.Cut(p[1:], "=")
			var ok bool
			if dst, ok = AppendExtra(dst, p[0], name, []byte(value), present); !ok {
				t.Fatalf("%q is refused", p)
			}
		}
		return string(dst)
	}
	seen := map[string][]string{}
	for _, parts := range [][]string{
		{"ha=1"}, {"ha=2"}, {"ha="}, {"ha"}, {"ca=1"}, {"sa=1"}, {"ha=1", "hb=2"}, {"ha=1hb=2"}, {"ha=1", "hb"}, {"cA=1"}, {"hb=2", "ha=1"}, {},
	} {
		e := extra(parts...)
		if other, ok := seen[e]; ok {
			t.Errorf("%q and %q share a key", parts, other)
		}
		seen[e] = parts
	}
	if extra("hX-A=1") != extra("hx-a=1") {
		t.Error("the case of a field name counts")
	}
	if got, ok := AppendExtra([]byte("x"), 'h', "a", make([]byte, MaxExtra), true); ok || string(got) != "x" {
		t.Error("a value has no bound")
	}
	p := KeyParts{Scope: ScopePublic, Host: []byte("h"), Path: []byte("/"), Query: []byte("q"), HasQuery: true}
	plain, _ := AppendKey(nil, &p)
	p.Extra = []byte(extra("ha=1"))
	with, ok := AppendKey(nil, &p)
	if !ok || string(with) == string(plain) || !strings.HasPrefix(string(with), string(plain)) {
		t.Errorf("got %q beside %q", with, plain)
	}
	dst, value := make([]byte, 0, 256), []byte("de")
	if a := testing.AllocsPerRun(100, func() { AppendExtra(dst, 'c', "language", value, true) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func TestBypass(t *testing.T) {
	f, err := CompileBypass(Bypass{
		Headers: map[string]string{"X-Preview": "*", "X-Mode": "draft-*"},
		Cookies: map[string]string{"admin": "1", "empty": ""},
		Query:   map[string]string{"no cache": "*", "v": "b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		lines []string
		query string
		want  bool
	}{
		{nil, "", false},
		{[]string{"x-preview:"}, "", true},
		{[]string{"X-Mode: live", "x-mode: draft-2"}, "", true},
		{[]string{"X-Mode: live"}, "", false},
		{[]string{"Cookie: a=b; admin=1"}, "", true},
		{[]string{"Cookie: a=b", "cookie: admin=1 "}, "", true},
		{[]string{"Cookie: admin=2; Admin=1; xadmin=1"}, "", false},
		{[]string{"Cookie: empty="}, "", true},
		{[]string{"Cookie: empty=x; admin"}, "", false},
		{nil, "a=1&v=b", true},
		{nil, "v=%62", true},
		{nil, "%76=b", true},
		{nil, "v=c&V=b", false},
		{nil, "no%20cache", true},
		{nil, "no+cache=1", true},
	} {
		if got := f.Matches(header(tt.lines...), []byte(tt.query)); got != tt.want {
			t.Errorf("%q ?%s: got %v", tt.lines, tt.query, got)
		}
	}
	var none *BypassFilter
	if none.Matches(header("A: b"), []byte("a")) {
		t.Error("no filter matches")
	}
	if f, err := CompileBypass(Bypass{}); f != nil || err != nil {
		t.Errorf("got %v, %v", f, err)
	}
	for _, b := range []Bypass{{Headers: map[string]string{"a b": "*"}}, {Cookies: map[string]string{"": "*"}}, {Query: map[string]string{"": "*"}}} {
		if _, err := CompileBypass(b); err == nil {
			t.Errorf("%+v is accepted", b)
		}
	}
	h, query := header("X-Mode: live", "Cookie: a=b; c=d"), []byte("a=1&b=2")
	if a := testing.AllocsPerRun(100, func() { f.Matches(h, query) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func TestLanguages(t *testing.T) {
	for accept, want := range map[string]string{
		"de": "de", "fr;q=0.5, De;q=1.0": "de", "fr;q=0.5,de": "de", "de-CH, de;q=.9": "", "de-CH, de;q=0.9": "de-ch", "en, de": "", "*": "",
		"en;q=0": "", "": "", "en;q=2": "", "en;q=x": "", "en;q=0.1234": "", "en;level=1": "", "*;q=1, en;q=0.9": "", "en;q=0.999, de;q=0.99": "en",
		"e\tn": "", "en ; q=0.5, de;q=0.4": "en",
	} {
		if got, ok := PreferredLanguage(nil, []byte(accept)); string(got) != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", accept, got, ok, want)
		}
	}
	for lines, want := range map[string]string{"De": "de", "de, en": "", "": "", "*": ""} {
		if got, ok := ContentLanguage(nil, header("Content-Language: "+lines)); string(got) != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v", lines, got, ok)
		}
	}
	dst, accept := make([]byte, 0, 16), []byte("fr;q=0.5, de;q=1.0")
	if a := testing.AllocsPerRun(100, func() { PreferredLanguage(dst, accept) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
