package cache

import (
	"bytes"
	"strings"
	"testing"
)

func varyKey(t *testing.T, vary string, lines ...string) string {
	t.Helper()
	names, ok := VaryNames(header("Vary: " + vary))
	if !ok {
		t.Fatalf("Vary: %s is refused", vary)
	}
	key, ok := AppendVary([]byte("+"), names, header(lines...).AppendJoined)
	if !ok || key[0] != '+' {
		t.Fatalf("%q: %q %v", lines, key, ok)
	}
	return string(key[1:])
}

// RFC 9111 §4.1.
func TestAppendVary(t *testing.T) {
	for _, tt := range []struct {
		vary  string
		lines []string
		want  string
	}{
		{"Foo", []string{"Foo: 1"}, "foo:1\n"},
		{"Foo", []string{"Bar: 1"}, "foo\n"},
		{"Foo", []string{"Foo:"}, "foo:\n"},
		{"Foo", []string{"foo: 1", "FOO: 2"}, "foo:1,2\n"},
		{"Foo", []string{"Foo:  1,\t2 ,,3 ,"}, "foo:1,2,3\n"},
		{"Foo", []string{"Foo: 2, 1"}, "foo:2,1\n"},
		{"Foo", []string{"Foo: A b"}, "foo:A b\n"},
		{"Foo", []string{`Foo: "a, b" , c`}, "foo:\"a, b\",c\n"},
		{"Foo, Bar, foo", []string{"Foo: 1"}, "bar\nfoo:1\n"},
		{"Accept-Encoding", nil, "accept-encoding\n"},
		{"Accept-Encoding", []string{"Accept-Encoding:"}, "accept-encoding:identity\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: gzip, deflate, br, zstd"}, "accept-encoding:br,deflate,gzip,identity,zstd\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: zstd;q=0.1,br;q=1.0 , X-GZIP", "accept-encoding: deflate"}, "accept-encoding:br,deflate,gzip,identity,zstd\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: gzip;q=0, br; q=0.000, deflate"}, "accept-encoding:deflate,identity\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: gzip;q=0.001"}, "accept-encoding:gzip,identity\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: gzip, identity;q=0"}, "accept-encoding:gzip\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: gzip, *;q=0"}, "accept-encoding:gzip\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: identity, *;q=0"}, "accept-encoding:identity\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: *"}, "accept-encoding:br,deflate,gzip,identity,zstd\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: *, gzip, *;q=0"}, "accept-encoding:gzip\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: *, br;q=0"}, "accept-encoding:deflate,gzip,identity,zstd\n"},
		{"Accept-Encoding", []string{"Accept-Encoding: dcb, compress, gzip"}, "accept-encoding:gzip,identity\n"},
		{"Accept-Language", []string{"Accept-Language: en, de;q=0.5"}, "accept-language:de;q=0.5,en\n"},
		{"Accept-Language", []string{"Accept-Language:  De;q=0.5 ,   EN"}, "accept-language:de;q=0.5,en\n"},
	} {
		if got := varyKey(t, tt.vary, tt.lines...); got != tt.want {
			t.Errorf("%s of %q: got %q, want %q", tt.vary, tt.lines, got, tt.want)
		}
	}
}

func TestAppendVaryBounds(t *testing.T) {
	names := [][]byte{[]byte("foo")}
	for _, tt := range []struct {
		value string
		want  bool
	}{
		{strings.Repeat("x", MaxVaryKey-5), true},
		{strings.Repeat("x", MaxVaryKey-4), false},
		{"a\nbar:1", false}, // would read as another field
	} {
		h := Header{{[]byte("Foo"), []byte(tt.value)}}
		got, ok := AppendVary([]byte("kept"), names, h.AppendJoined)
		if ok != tt.want || (!ok && string(got) != "kept") {
			t.Errorf("%d bytes: %v", len(tt.value), ok)
		}
	}
	long := strings.Repeat("en,", maxLanguages) + "de"
	if got := varyKey(t, "accept-language", "Accept-Language: "+long); got != "accept-language:"+long+"\n" {
		t.Errorf("a long list: %q", got)
	}
}

// The secondary key is the same for requests that differ in whitespace only, and
// different fields do not run into each other.
func FuzzAppendVary(f *testing.F) {
	f.Add("a, b", "gzip;q=0, br", "en,de", "x")
	f.Fuzz(func(t *testing.T, foo, encoding, language, bar string) {
		names, _ := VaryNames(header("Vary: foo, accept-encoding, accept-language, bar"))
		make := func(foo string) ([]byte, bool) {
			h := Header{{[]byte("Foo"), []byte(foo)}, {[]byte("Accept-Encoding"), []byte(encoding)}, {[]byte("Accept-Language"), []byte(language)}, {[]byte("Bar"), []byte(bar)}}
			return AppendVary(nil, names, h.AppendJoined)
		}
		key, ok := make(foo)
		if !ok {
			return
		}
		if len(key) > MaxVaryKey || bytes.Count(key, []byte("\n")) != len(names) {
			t.Fatalf("key %q", key)
		}
		if spaced, ok := make(" " + foo + "\t"); ok && !bytes.Equal(spaced, key) {
			t.Fatalf("%q and %q", key, spaced)
		}
		if other, ok := make(foo + "x"); ok && bytes.Equal(other, key) {
			t.Fatalf("%q and %q have one key", foo, foo+"x")
		}
	})
}

func TestAppendVaryDoesNotAllocate(t *testing.T) {
	names, _ := VaryNames(header("Vary: Accept-Encoding, Accept-Language, Foo"))
	h := header("Accept-Encoding: gzip, br;q=0.5", "Accept-Language: en, de", "Foo: a, b")
	buf := make([]byte, 0, 512)
	if a := testing.AllocsPerRun(100, func() { AppendVary(buf, names, h.AppendJoined) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkAppendVary(b *testing.B) {
	names, _ := VaryNames(header("Vary: Accept-Encoding"))
	h := header("Accept: */*", "Accept-Encoding: gzip, deflate, br, zstd")
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		AppendVary(buf, names, h.AppendJoined)
	}
}
