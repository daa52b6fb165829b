package cache

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func joined(list [][]byte) string { return string(bytes.Join(list, []byte("|"))) }

func groupList(n, length int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%q", fmt.Sprintf("%0*d", length, i)))
	}
	return strings.Join(out, ", ")
}

// RFC 9875 §2.
func TestAppendGroups(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
		ok    bool
	}{
		{"none", nil, "", true},
		{"two", []string{`Cache-Groups: "a", "b c"`}, "a|b c", true},
		{"lines", []string{`Cache-Groups: "a"`, `cache-groups: "b"`}, "a|b", true},
		{"parameters", []string{`Cache-Groups: "a";revalidate, "b"`}, "a|b", true},
		{"twice", []string{`Cache-Groups: "a", "a"`}, "a", true},
		{"case", []string{`Cache-Groups: "a", "A"`}, "a|A", true},
		{"empty string", []string{`Cache-Groups: "", "a"`}, "a", true},
		{"tokens void it", []string{`Cache-Groups: "a", b`}, "", true},
		{"inner lists void it", []string{`Cache-Groups: ("a")`}, "", true},
		{"malformed", []string{`Cache-Groups: "a`}, "", true},
		{"what must be supported", []string{"Cache-Groups: " + groupList(32, 32)}, "*", true},
		{"the bounds", []string{"Cache-Groups: " + groupList(MaxGroups, MaxGroupLen)}, "*", true},
		{"too many", []string{"Cache-Groups: " + groupList(MaxGroups+1, 3)}, "", false},
		{"too long", []string{"Cache-Groups: " + groupList(1, MaxGroupLen+1)}, "", false},
		{"far too many", []string{"Cache-Groups: " + groupList(maxSFMembers+1, 4)}, "", false},
		{"too large to be read", []string{"Cache-Groups: " + strings.Repeat(" ", maxSFBytes) + `"a"`, `Cache-Groups: "` + strings.Repeat("x", maxSFBytes) + `"`}, "", false},
	} {
		got, ok := AppendGroups([][]byte{[]byte("before")}, header(tt.lines...))
		if ok != tt.ok || tt.want != "*" && joined(got[1:]) != tt.want || tt.want == "*" && len(got) < 33 {
			t.Errorf("%s: got %q, %v", tt.name, joined(got), ok)
		}
	}
}

// RFC 9875 §3.
func TestAppendInvalidatedGroups(t *testing.T) {
	h := header(`Cache-Group-Invalidation: "a", "b"`)
	if got, ok := AppendInvalidatedGroups(nil, "POST", h); joined(got) != "a|b" || !ok {
		t.Errorf("POST: got %q, %v", joined(got), ok)
	}
	for _, safe := range []string{"GET", "HEAD", "OPTIONS"} {
		if got, ok := AppendInvalidatedGroups(nil, safe, h); len(got) != 0 || !ok {
			t.Errorf("%s: got %q, %v", safe, joined(got), ok)
		}
	}
	if got, ok := AppendInvalidatedGroups(nil, "POST", header("Cache-Group-Invalidation: "+groupList(MaxGroups+1, 3))); len(got) != MaxGroups || ok {
		t.Errorf("got %d groups, %v", len(got), ok)
	}
}

func TestAppendGroupTag(t *testing.T) {
	for _, tt := range [][3]string{
		{"Shop.Example:443", "a|b", "g|shop.example|a|b"}, {"shop.example:80", "x", "g|shop.example|x"}, {"shop.example:8080", "x", "g|shop.example:8080|x"},
	} {
		if got := string(AppendGroupTag(nil, []byte(tt[0]), []byte(tt[1]))); got != tt[2] {
			t.Errorf("got %q, want %q", got, tt[2])
		}
	}
}

func TestAppendSurrogateTags(t *testing.T) {
	fields := []string{"Cache-Tag", "Surrogate-Key", "xkey"}
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
		ok    bool
	}{
		{"none", nil, "", true},
		{"commas", []string{"Cache-Tag: a,b ,, c"}, "a|b|c", true},
		{"spaces", []string{"Surrogate-Key: a b\tc "}, "a|b|c", true},
		{"all", []string{"XKEY: a", "cache-tag: b", "Surrogate-Key: a c"}, "a|b|c", true},
		{"others", []string{"X-Cache-Tags: a"}, "", true},
		{"at the bound", []string{"Cache-Tag: " + strings.Repeat("x", MaxTag)}, strings.Repeat("x", MaxTag), true},
		{"too long", []string{"Cache-Tag: a, " + strings.Repeat("x", MaxTag+1)}, "", false},
		{"too many", []string{"Cache-Tag: " + many(MaxTags+1)}, "", false},
	} {
		got, ok := AppendSurrogateTags(nil, header(tt.lines...), fields)
		if ok != tt.ok || joined(got) != tt.want {
			t.Errorf("%s: got %q, %v", tt.name, joined(got), ok)
		}
	}
	h := header("Cache-Tag: abc")
	got, _ := AppendSurrogateTags(nil, h, fields)
	if h[0].Value[0] = 'x'; joined(got) != "abc" {
		t.Error("the tags alias the response")
	}
	if tags, ok := AppendSurrogateTags(nil, header("Cache-Tag: "+many(MaxTags)), fields); !ok || len(tags) != MaxTags || MaxTags > maxTagMarks {
		t.Errorf("%d tags, %v", len(tags), ok)
	}
}
