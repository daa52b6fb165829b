package rules

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func compile(tb testing.TB, matches ...Match) *Table {
	tb.Helper()
	t, err := Compile(matches)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestPath(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		yes, no string // paths, by spaces
	}{
		{"/", "/", "/a //"},
		{"/a", "/a", "/a/ /A /ab / /a/b"},
		{"/a/", "/a/", "/a /a/b"},
		{"/a/*", "/a/b /a/%2F", "/a /a/ /a/b/ /a/b/c"},
		{"/img/*.png", "/img/x.png /img/.png /img/a.png.png", "/img/x.pngx /img/a/b.png /img/png"},
		{"/v*-x*y", "/v-xy /v1-x2y /v-x-xy", "/v-x /vxy /v-y"},
		{"/ab*ba", "/abba /ab-ba", "/aba"},
		{"/static/**", "/static /static/ /static/a /static/a/b /static//", "/statics /stati /"},
		{"/**", "/ /a /a/b// //", "*"},
		{"/**/feed", "/feed /a/feed /a/b/feed /feed/feed", "/feeds /a/feed/ /"},
		{"/a/**/b/**/c", "/a/b/c /a/x/b/y/z/c /a/b/b/c/c", "/a/c /a/b /a/c/b /b/c"},
		{"/**/*", "/a /a/b", "/ /a/"},
		{"/p/{id}", "/p/1 /p/a%20b", "/p/ /p /p/1/2"},
		{"/{a}/x/{b}", "/1/x/2", "/1/y/2 //x/2 /1/x/"},
		{"/caf%c3%a9/%7euser", "/caf%C3%A9/~user", "/café/~user /caf%c3%a9/~user"},
		{"/café/a b", "/caf%C3%A9/a%20b", "/café/a"},
		{"/a!$&'()+,;=:@-._~", "/a!$&'()+,;=:@-._~", "/a"},
		{"/a%21%2a%2F", "/a%21%2A%2F", "/a!*/"},
		{"/a//b", "/a//b", "/a/b"},
	} {
		table := compile(t, Match{Path: tc.pattern})
		check := func(paths string, want int) {
			for _, path := range strings.Fields(paths) {
				if got := table.Match(&Request{Path: []byte(path)}, nil); got != want {
					t.Errorf("%s on %s: %d, want %d", tc.pattern, path, got, want)
				}
			}
		}
		check(tc.yes, 0)
		check(tc.no, -1)
	}
}

func TestConditions(t *testing.T) {
	headers := headerMap{"Accept": {"text/html", "application/json"}, "X-Empty": {""}}
	for _, tc := range []struct {
		name string
		m    Match
		r    Request
		want bool
	}{
		{"nothing set", Match{}, Request{}, true},
		{"nothing set, asterisk-form", Match{}, Request{Path: []byte("*")}, true},
		{"method", Match{Methods: []string{"POST", "PUT"}}, Request{Method: []byte("PUT")}, true},
		{"other method", Match{Methods: []string{"POST", "PUT"}}, Request{Method: []byte("GET")}, false},
		{"GET includes HEAD", Match{Methods: []string{"GET"}}, Request{Method: []byte("HEAD")}, true},
		{"HEAD does not include GET", Match{Methods: []string{"HEAD"}}, Request{Method: []byte("GET")}, false},
		{"methods are case-sensitive", Match{Methods: []string{"GET"}}, Request{Method: []byte("get")}, false},
		{"extension method", Match{Methods: []string{"PURGE"}}, Request{Method: []byte("PURGE")}, true},
		{"unknown method", Match{Methods: []string{"PURGE"}}, Request{Method: []byte("BAN")}, false},
		{"host", Match{Hosts: []string{"Example.com"}}, Request{Host: []byte("eXample.COM:8080")}, true},
		{"host with final dot", Match{Hosts: []string{"example.com"}}, Request{Host: []byte("example.com.:80")}, true},
		{"other host", Match{Hosts: []string{"example.com"}}, Request{Host: []byte("www.example.com")}, false},
		{"no host", Match{Hosts: []string{"example.com"}}, Request{}, false},
		{"subdomain", Match{Hosts: []string{"*.example.com"}}, Request{Host: []byte("a.b.example.com")}, true},
		{"not the domain itself", Match{Hosts: []string{"*.example.com"}}, Request{Host: []byte("example.com")}, false},
		{"not a suffix", Match{Hosts: []string{"*.example.com"}}, Request{Host: []byte("badexample.com")}, false},
		{"empty label", Match{Hosts: []string{"*.example.com"}}, Request{Host: []byte(".example.com")}, false},
		{"IPv6", Match{Hosts: []string{"[::1]"}}, Request{Host: []byte("[::1]:8080")}, true},
		{"IPv6 without port", Match{Hosts: []string{"[::1]"}}, Request{Host: []byte("[::1]")}, true},
		{"host too long", Match{Hosts: []string{"*.a"}}, Request{Host: []byte(strings.Repeat("a.", 200) + "a")}, false},
		{"header", Match{Headers: map[string]string{"accept": "*json"}}, Request{Headers: headers}, true},
		{"header present", Match{Headers: map[string]string{"X-Empty": "*"}}, Request{Headers: headers}, true},
		{"header absent", Match{Headers: map[string]string{"X-None": "*"}}, Request{Headers: headers}, false},
		{"header value", Match{Headers: map[string]string{"Accept": "text/plain"}}, Request{Headers: headers}, false},
		{"no headers at all", Match{Headers: map[string]string{"Accept": "*"}}, Request{}, false},
		{"query", Match{Query: map[string]string{"a": "1"}}, Request{RawQuery: []byte("b=2&a=1")}, true},
		{"query, second value", Match{Query: map[string]string{"a": "2"}}, Request{RawQuery: []byte("a=1&a=2")}, true},
		{"query, no value", Match{Query: map[string]string{"a": "*"}}, Request{RawQuery: []byte("a")}, true},
		{"query, empty value", Match{Query: map[string]string{"a": ""}}, Request{RawQuery: []byte("a=")}, true},
		{"query decoded", Match{Query: map[string]string{"a b": "x*é"}}, Request{RawQuery: []byte("%61+b=x%26%3D%C3%A9")}, true},
		{"query, bad escapes", Match{Query: map[string]string{"a": "%zz%"}}, Request{RawQuery: []byte("a=%zz%")}, true},
		{"query, name is a prefix", Match{Query: map[string]string{"ab": "*"}}, Request{RawQuery: []byte("a=1&abc=1")}, false},
		{"query, encoded ampersand", Match{Query: map[string]string{"b": "1"}}, Request{RawQuery: []byte("a=%26b=1")}, false},
		{"all of them", Match{Query: map[string]string{"a": "1", "b": "2"}}, Request{RawQuery: []byte("a=1")}, false},
	} {
		if got := compile(t, tc.m).Match(&tc.r, nil) == 0; got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// The index must not change which rule is first, whatever kind it is of.
func TestFirstInFileOrder(t *testing.T) {
	kinds := []Match{
		{Path: "/a/b"}, {Path: "/a/*"}, {Path: "/*/b"}, {Path: "/{x}/{y}"}, {Path: "/a/*b"}, {Path: "/**"},
		{Path: "/a/**"}, {Path: "/**/b"}, {}, {Hosts: []string{"h.test"}}, {Hosts: []string{"*.test"}, Path: "/a/b"},
	}
	r := &Request{Host: []byte("h.test"), Path: []byte("/a/b")}
	for shift := range kinds {
		order := append(append([]Match{}, kinds[shift:]...), kinds[:shift]...)
		order = append([]Match{{Path: "/other"}, {Path: "/a/b", Methods: []string{"PUT"}}}, order...)
		if got := compile(t, order...).Match(r, nil); got != 2 {
			t.Errorf("with %+v first: rule %d, want 2", order[2], got)
		}
	}
}

func TestParams(t *testing.T) {
	table := compile(t,
		Match{Path: "/u/{user}/p/{post}"},
		Match{Path: "/f/**/{dir}/x/{name}"},
		Match{Path: "/plain/*"},
	)
	var p Params
	for _, tc := range []struct {
		path string
		want map[string]string
	}{
		{"/u/7/p/a%20b", map[string]string{"user": "7", "post": "a%20b"}},
		{"/plain/x", map[string]string{}}, // what the match before captured is gone
		{"/f/a/x/b/x/c", map[string]string{"dir": "b", "name": "c"}},
		{"/f/a/b/x/x/x", map[string]string{"dir": "x", "name": "x"}},
		{"/none", map[string]string{}},
	} {
		index := table.Match(&Request{Path: []byte(tc.path)}, &p)
		got := map[string]string{}
		for i := range p.Len() {
			name, value := p.At(i)
			got[name] = string(value)
			if string(p.Get(name)) != string(value) {
				t.Errorf("%s: Get(%s) = %q, At has %q", tc.path, name, p.Get(name), value)
			}
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: rule %d captured %v, want %v", tc.path, index, got, tc.want)
		}
	}
	if p.Get("user") != nil {
		t.Error("a capture is left after a request that no rule matches")
	}
	if got := table.ParamNames(1); !reflect.DeepEqual(got, []string{"dir", "name"}) {
		t.Errorf("ParamNames: %v", got)
	}
}

// Random rules over a small alphabet: every kind of overlap comes up.
func TestAgainstReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	words := func(n int, from ...string) string {
		var b strings.Builder
		for range 1 + rng.IntN(n) {
			b.WriteString("/" + pick(from...))
		}
		return b.String()
	}
	for round := range 500 {
		var matches []Match
		for range 1 + rng.IntN(12) {
			m := Match{Path: words(4, "a", "b", "ab", "*", "**", "a*", "*b", "a*b*a", "{x}", "")}
			if strings.Count(m.Path, "{x}") > 1 || rng.IntN(8) == 0 {
				m.Path = ""
			}
			if rng.IntN(4) == 0 {
				m.Hosts = []string{pick("a.t", "*.t", "*.a.t", "b.t")}
			}
			if rng.IntN(4) == 0 {
				m.Methods = []string{pick("GET", "POST", "X")}
			}
			if rng.IntN(4) == 0 {
				m.Query = map[string]string{pick("q", "r"): pick("*", "1", "*a*b", "")}
			}
			matches = append(matches, m)
		}
		table, ref := compile(t, matches...), newReference(matches)
		for range 20 {
			r := &Request{
				Method: []byte(pick("GET", "HEAD", "POST", "X")), Host: []byte(pick("a.t:1", "b.t", "c.a.t", "t")),
				Path:     []byte(words(5, "a", "b", "ab", "aba", "abba", "")),
				RawQuery: []byte(pick("", "q", "q=1", "r=%61xb&q=+a", "q=ab%62&r=1")),
			}
			checkReference(t, table, ref, r, fmt.Sprintf("round %d", round))
		}
	}
}

func checkReference(t *testing.T, table *Table, ref reference, r *Request, where string) {
	t.Helper()
	var p Params
	got, want := table.Match(r, &p), ref.match(r)
	if got != want {
		t.Fatalf("%s: rule %d, the reference says %d\nrules %+v\nrequest %q %q %q %q", where, got, want, ref, r.Method, r.Host, r.Path, r.RawQuery)
	}
	if got >= 0 && p.Len() != len(table.ParamNames(got)) {
		t.Fatalf("%s: %d captures, want %v", where, p.Len(), table.ParamNames(got))
	}
	for i := range p.Len() {
		if _, v := p.At(i); len(v) == 0 {
			t.Fatalf("%s: an empty capture by %q on %q", where, ref[got].Path, r.Path)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("/a/**/b", "/{id}/*.png", "*.example.com", "a*", "/a/x/b", "www.example.com", "q=%61b")
	f.Add("/**", "/caf%c3%a9", "[::1]", "*", "/caf%C3%A9", "[::1]:80", "q&=&%")
	f.Add("/a*b*c/**/x", "/a/**/*/y", "h", "", "/abc/y//x", "H.", "q=+")
	f.Fuzz(func(t *testing.T, p1, p2, host, query, path, reqHost, rawQuery string) {
		matches := []Match{
			{Path: p1, Query: map[string]string{"q": query}, Headers: map[string]string{"X": query}},
			{Path: p1, Hosts: []string{host}, Methods: []string{"GET"}},
			{Path: p2, Query: map[string]string{query: "1*"}},
			{Path: p2},
			{Path: p1},
		}
		table, err := Compile(matches)
		if err != nil {
			matches = nil
			for _, m := range []Match{{Path: p1}, {Path: p2}, {Hosts: []string{host}}} {
				if len(Check(m)) == 0 {
					matches = append(matches, m)
				}
			}
			table = compile(t, matches...)
		}
		checkReference(t, table, newReference(matches), &Request{
			Method: []byte("HEAD"), Host: []byte(reqHost), Path: []byte(path), RawQuery: []byte(rawQuery),
			Headers: headerMap{"x": {rawQuery}},
		}, "fuzz")
	})
}
