package cache

import (
	"bytes"
	"testing"
)

func variance(value string) *SearchVariance {
	return ParseNoVarySearch(header("No-Vary-Search: " + value))
}

// §4 of the draft, its examples included.
func TestParseNoVarySearch(t *testing.T) {
	for value, want := range map[string]string{
		"params":                           "all but []",
		`params=("a")`:                     "[a]",
		`params=("a" "b%20c" "d+e")`:       "[a|b c|d e]",
		`params, except=("x")`:             "all but [x]",
		"params=?1":                        "all but []",
		"key-order":                        "[] any order",
		"key-order=?1":                     "[] any order",
		`params, key-order, except=("x")`:  "all but [x] any order",
		`params=("a"), key-order, new=(1)`: "[a] any order",
		"params, except=()":                "all but []",
		// These change nothing, or are void.
		"unknown-key":                "",
		`key-order="not a boolean"`:  "",
		`params="not a boolean"`:     "",
		"params=(not-a-string)":      "",
		`params=("a"), except=("x")`: "",
		"params=(), except=()":       "",
		`params=?0, except=("x")`:    "",
		"params, except=(token)":     "",
		`params, except="x"`:         "",
		"params, except=?1":          "",
		`except=("x")`:               "",
		"except=()":                  "",
		"params=?0":                  "",
		"params=()":                  "",
		"key-order=?0":               "",
		`params=("a"`:                "",
		`params=("a"), key-order=1`:  "",
		"params=:YQ==:":              "",
		"params=1.5":                 "",
		`params=(` + groupListOf(65): "",
	} {
		got := ""
		if s := variance(value); s != nil {
			got = "[" + joined(s.names) + "]"
			if s.wildcard {
				got = "all but " + got
			}
			if s.anyOrder {
				got += " any order"
			}
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
	if ParseNoVarySearch(nil) != nil {
		t.Error("an absent field does something")
	}
}

func groupListOf(n int) string {
	b := bytes.Repeat([]byte(`"a" `), n)
	return string(b) + ")"
}

// §5: which queries are equivalent.
func TestCanonicalQuery(t *testing.T) {
	for _, tt := range []struct {
		nvs, a, b string
		same      bool
	}{
		{"", "a=1", "a=1", true},
		{"", "a=1&b=2", "b=2&a=1", false},
		{"", "a=%31", "a=1", false},
		{"key-order", "a=1&b=2", "b=2&a=1", true},
		{"key-order", "a=1&a=2", "a=2&a=1", false},
		{"key-order", "a=1&b=2", "b=2&a=2", false},
		{"key-order", "a=b&&&c", "a=b&c=", true},
		{"key-order", "", "&", true},
		{`params=("u")`, "a=1&u=2", "u=3&a=1&u", true},
		{`params=("u")`, "a=1&u=2", "a=2&u=2", false},
		{`params=("u")`, "a=1&b=2", "b=2&a=1", false},
		{`params=("u")`, "a=%31+x", "a=1%20x", true},
		{`params=("u")`, "%75=5", "", true},
		{`params=("u")`, "a=1%262", "a=1&2", false},
		{`params=("u")`, "a%3D1", "a=1", false},
		{`params=("u")`, "a=%", "a=%25", true},
		{`params=("u")`, "a=%c3", "a=%C4", false},
		{`params=("%C3%A9+%E6%B0%97")`, "%C3%A9%20%e6%b0%97=1", "\xc3\xa9+\xe6\xb0\x97=2", true},
		{"params", "a=1&b=2", "", true},
		{`params, except=("id")`, "id=1&b=2", "c&id=1", true},
		{`params, except=("id")`, "id=1", "id=2", false},
		{`params, except=("id"), key-order`, "id=1&x", "id=1", true},
	} {
		nvs := variance(tt.nvs)
		a, b := CanonicalQuery(nil, []byte(tt.a), nvs), CanonicalQuery(nil, []byte(tt.b), nvs)
		if bytes.Equal(a, b) != tt.same {
			t.Errorf("%s: %q and %q are %q and %q", tt.nvs, tt.a, tt.b, a, b)
		}
	}
	if got := string(CanonicalQuery([]byte("x"), []byte("b=%7e&a=+"), variance("key-order"))); got != "xa=%20&b=~" {
		t.Errorf("got %q", got)
	}
}

func TestSearchKeys(t *testing.T) {
	key := func(query string, has bool, nvs *SearchVariance) string {
		p := KeyParts{Scope: ScopePublic, Host: []byte("h"), Path: []byte("/"), Query: []byte(query), HasQuery: has, Search: nvs}
		b, ok := AppendKey(nil, &p)
		if !ok {
			t.Fatal("no key")
		}
		return string(b)
	}
	u := variance(`params=("u")`)
	if key("a=1&u=2", true, u) != key("u=7&a=1", true, u) || key("u=1", true, u) != key("", false, u) {
		t.Error("equivalent queries have two keys")
	}
	if key("a=1", true, u) == key("a=1", true, nil) || key("", false, u) == key("", false, nil) {
		t.Error("a key with a variance is one without")
	}
	for _, other := range []string{`params=("u"), key-order`, `params, except=("a")`, `params=("u" "v")`} {
		if key("a=1", true, u) == key("a=1", true, variance(other)) {
			t.Errorf("%s shares its keys", other)
		}
	}
	p := KeyParts{Scope: ScopePublic, Host: []byte("h"), Path: []byte("/"), Query: []byte("a"), HasQuery: true, Search: u}
	index, ok := AppendSearchKey(nil, &p)
	if !ok || string(index) == key("", false, nil) || string(p.Query) != "a" || p.Search != u {
		t.Errorf("index key %q", index)
	}
	p.Scope = ScopeUser
	if _, ok := AppendSearchKey(nil, &p); ok {
		t.Error("a user's key without a user")
	}
	e, err := Decode(Encode(nil, NewSearchIndex(index, header("No-Vary-Search: key-order", `no-vary-search: params=("u")`))))
	if err != nil || e.SearchVariance() == nil || !e.SearchVariance().anyOrder || joined(e.SearchVariance().names) != "u" {
		t.Errorf("%+v, %v", e, err)
	}
	if sample().SearchVariance() != nil {
		t.Error("a response was read as an index")
	}
}

// The form of a form is the same form, and a parameter that counts is never lost.
func FuzzCanonicalQuery(f *testing.F) {
	f.Add("a=1&b=%20+&c", `params=("c"), key-order`)
	f.Add("%=&&=&%zz", `params, except=("a")`)
	f.Fuzz(func(t *testing.T, query, value string) {
		nvs := ParseNoVarySearch(Header{{[]byte("No-Vary-Search"), []byte(value)}})
		once := CanonicalQuery(nil, []byte(query), nvs)
		if twice := CanonicalQuery(nil, once, nvs); !bytes.Equal(once, twice) {
			t.Fatalf("%q under %q: %q, then %q", query, value, once, twice)
		}
		if nvs != nil && !nvs.wildcard && !contains(nvs.names, []byte("zz")) {
			a := CanonicalQuery(nil, []byte(query+"&zz=1"), nvs)
			b := CanonicalQuery(nil, []byte(query+"&zz=2"), nvs)
			if bytes.Equal(a, b) {
				t.Fatalf("%q under %q loses a parameter", query, value)
			}
		}
	})
}
