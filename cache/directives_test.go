package cache

import (
	"reflect"
	"testing"
)

func set(n int64) Delta { return Delta{Seconds: n, Set: true} }

var bad = Delta{Set: true, Invalid: true}

// RFC 9111 §5.2 (syntax), §4.2.1 (duplicates and conflicts), §1.2.2 (overflow).
func TestParseResponse(t *testing.T) {
	names := func(n ...string) (out [][]byte) {
		for _, s := range n {
			out = append(out, []byte(s))
		}
		return out
	}
	for value, want := range map[string]ResponseDirectives{
		"":                            {},
		"no-store, no-cache, private": {NoStore: true, NoCache: true, Private: true},
		"No-StOrE":                    {NoStore: true},
		"no-store=x":                  {NoStore: true},
		"public, must-revalidate, proxy-revalidate, must-understand, no-transform, immutable": {Public: true, MustRevalidate: true,
			ProxyRevalidate: true, MustUnderstand: true, NoTransform: true, Immutable: true},
		"public=x":                            {},
		"max-age=3600":                        {MaxAge: set(3600)},
		"MaX-aGe=3600, foobar, x=\"y, z\"":    {MaxAge: set(3600)},
		`max-age="3600"`:                      {MaxAge: set(3600)},
		"max-age=003600":                      {MaxAge: set(3600)},
		"max-age=2147483647":                  {MaxAge: set(MaxDelta - 1)},
		"max-age=2147483649":                  {MaxAge: set(MaxDelta)},
		"max-age=99999999999999999999999":     {MaxAge: set(MaxDelta)},
		"max-age":                             {MaxAge: bad},
		"max-age=":                            {MaxAge: bad},
		"max-age=-1":                          {MaxAge: bad},
		"max-age=+1":                          {MaxAge: bad},
		"max-age=1.0":                         {MaxAge: bad},
		"max-age='3600'":                      {MaxAge: bad},
		"max-age=3600a":                       {MaxAge: bad},
		"max-age =3600":                       {MaxAge: bad},
		"max-age= 3600":                       {MaxAge: bad},
		`max-age="3600`:                       {MaxAge: bad},
		`max-age="36"00`:                      {MaxAge: bad},
		`max-age="36\00"`:                     {MaxAge: bad},
		`max-age=""`:                          {MaxAge: bad},
		`max-age= "3600"`:                     {MaxAge: bad},
		`extension="max-age=3600", max-age=1`: {MaxAge: set(1)},
		`max-age=1, extension="max-age=3600"`: {MaxAge: set(1)},
		"max-age=5, max-age=5":                {MaxAge: set(5)},
		"max-age=5, max-age=6":                {MaxAge: bad},
		"max-age=0, max-age=x":                {MaxAge: bad},
		"max-age=5, max-age=6, max-age=0":     {MaxAge: bad},
		"s-maxage=1, max-age=2":               {SMaxAge: set(1), MaxAge: set(2)},
		"stale-while-revalidate=30, stale-if-error=60": {StaleWhileRevalidate: set(30), StaleIfError: set(60)},
		`no-cache="Set-Cookie"`:                        {NoCacheFields: names("Set-Cookie")},
		`no-cache="a, b", private=c`:                   {NoCacheFields: names("a", "b"), PrivateFields: names("c")},
		`no-cache="a", no-cache`:                       {NoCache: true, NoCacheFields: names("a")},
		`no-cache=""`:                                  {NoCache: true},
		`private="a b"`:                                {Private: true},
		`private="a, no-store`:                         {Private: true, NoStore: true},
		`x="a, no-store`:                               {NoStore: true},
		"a-directive-that-is-longer-than-all-others-that-are-known=5": {},
	} {
		want.Present = true
		if got := ParseResponse(header("Cache-Control: " + value)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", value, got, want)
		}
	}
}

func TestParseResponseLines(t *testing.T) {
	d := ParseResponse(header("Cache-Control: max-age=5", "cache-control: no-store", "CACHE-CONTROL: max-age=6", "Pragma: no-cache"))
	if !d.NoStore || d.MaxAge != bad || d.NoCache {
		t.Errorf("got %+v", d)
	}
	if ParseResponse(header("X: no-store")).Present {
		t.Error("a Cache-Control was seen where there is none")
	}
}

// RFC 9111 §5.2.1 and §5.4.
func TestParseRequest(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  RequestDirectives
	}{
		{nil, RequestDirectives{}},
		{[]string{"Cache-Control: no-cache, no-store, no-transform, only-if-cached"},
			RequestDirectives{Present: true, NoCache: true, NoStore: true, NoTransform: true, OnlyIfCached: true}},
		{[]string{"Cache-Control: max-age=1, min-fresh=2, max-stale=3"},
			RequestDirectives{Present: true, MaxAge: set(1), MinFresh: set(2), MaxStale: set(3)}},
		{[]string{"Cache-Control: max-stale"}, RequestDirectives{Present: true, MaxStaleAny: true}},
		{[]string{"Cache-Control: max-age=x, max-stale=x, min-fresh=x"}, RequestDirectives{Present: true,
			MaxAge: bad, MaxStale: bad, MinFresh: Delta{Seconds: MaxDelta, Set: true, Invalid: true}}},
		{[]string{"Cache-Control: max-age=5, min-fresh=5", "Cache-Control: max-age=4, min-fresh=6, max-age=9, min-fresh=1"},
			RequestDirectives{Present: true, MaxAge: set(4), MinFresh: set(6)}},
		{[]string{"Pragma: no-cache"}, RequestDirectives{NoCache: true}},
		{[]string{"Pragma: x, No-Cache"}, RequestDirectives{NoCache: true}},
		{[]string{"Pragma: other"}, RequestDirectives{}},
		{[]string{"Pragma: no-cache", "Cache-Control: max-age=1"}, RequestDirectives{Present: true, MaxAge: set(1)}},
		{[]string{"Cache-Control: x", "Pragma: no-cache"}, RequestDirectives{Present: true}},
	} {
		if got := ParseRequest(header(tt.lines...)); got != tt.want {
			t.Errorf("%q:\n got %+v\nwant %+v", tt.lines, got, tt.want)
		}
	}
}

func TestParseDirectivesDoesNotAllocate(t *testing.T) {
	h := header("Content-Type: x", "Cache-Control: public, max-age=3600, s-maxage=60, stale-while-revalidate=30", "Pragma: no-cache")
	if a := testing.AllocsPerRun(100, func() { ParseResponse(h); ParseRequest(h) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

// Whatever stands around it, an unquoted no-store counts, and deltas stay within
// their bounds.
func FuzzParseResponse(f *testing.F) {
	f.Add(`max-age=5, x="`, `y"`)
	f.Add(`no-cache="a`, `"private`)
	f.Fuzz(func(t *testing.T, before, after string) {
		h := Header{{[]byte("Cache-Control"), []byte(before)}, {[]byte("Cache-Control"), []byte("no-store")}, {[]byte("Cache-Control"), []byte(after)}}
		d := ParseResponse(h)
		if !d.NoStore {
			t.Fatalf("%q hides no-store", before)
		}
		for _, v := range []Delta{d.MaxAge, d.SMaxAge, d.StaleIfError, d.StaleWhileRevalidate} {
			if v.Seconds < 0 || v.Seconds > MaxDelta || (v.Invalid && v.Seconds != 0) {
				t.Fatalf("%q %q gives %+v", before, after, v)
			}
		}
		r := ParseRequest(h)
		if !r.NoStore || r.MaxAge.Seconds > MaxDelta || r.MinFresh.Seconds > MaxDelta {
			t.Fatalf("request %+v", r)
		}
	})
}

func BenchmarkParseResponse(b *testing.B) {
	h := header("Content-Type: text/html", "Date: x", "Cache-Control: public, max-age=3600, s-maxage=60")
	b.ReportAllocs()
	for b.Loop() {
		ParseResponse(h)
	}
}
