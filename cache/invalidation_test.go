package cache

import (
	"strings"
	"testing"
)

func TestInvalidates(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
		want   bool
	}{
		{"POST", 200, true}, {"PUT", 201, true}, {"DELETE", 204, true}, {"PATCH", 303, true}, {"M-SEARCH", 200, true}, {"get", 200, true},
		{"POST", 400, false}, {"POST", 500, false}, {"POST", 101, false}, {"GET", 200, false}, {"HEAD", 200, false}, {"OPTIONS", 200, false},
		{"TRACE", 200, false}, {"QUERY", 200, false},
	} {
		if got := Invalidates(tt.method, tt.status); got != tt.want {
			t.Errorf("%s %d: got %v", tt.method, tt.status, got)
		}
	}
}

// RFC 9111 §4.4, RFC 3986 §5.2 and §5.4.
func TestAppendTargets(t *testing.T) {
	own := Target{Path: []byte("/b/c/d;p"), Query: []byte("q"), HasQuery: true}
	for ref, want := range map[string]string{
		"g": "/b/c/g", "./g": "/b/c/g", "g/": "/b/c/g/", "/g": "/g", "?y": "/b/c/d;p?y", "g?y": "/b/c/g?y", "#s": "", "g#s": "/b/c/g",
		";x": "/b/c/;x", "": "", ".": "/b/c/", "./": "/b/c/", "..": "/b/", "../": "/b/", "../g": "/b/g", "../..": "/", "../../g": "/g",
		"../../../g": "/g", "/./g": "/g", "/../g": "/g", "g.": "/b/c/g.", ".g": "/b/c/.g", "..g": "/b/c/..g", "./../g": "/b/g",
		"./g/.": "/b/c/g/", "g/./h": "/b/c/g/h", "g/../h": "/b/c/h", "?": "/b/c/d;p?", "/b/c/d;p?q": "",
		"http://h/g": "/g", "HTTP://H:80/g": "/g", "https://h/g": "/g", "https://h:443/g": "/g", "//h/g?x": "/g?x", "http://h": "/", "http://h?x": "/?x",
		"http://other/g": "none", "http://h:81/g": "none", "https://h:80/g": "none", "//other/g": "none", "ftp://h/g": "none", "mailto:a@h": "none",
		"a!b:c": "/b/c/a!b:c", "1:2": "/b/c/1:2", ":x": "/b/c/:x", "h2+x:y": "none",
		"http:g": "none", "http:///g": "none", "http://user@h/g": "none", "/a b": "none", "/a\\b": "none", "http://h\\@other/": "none",
	} {
		got := AppendTargets(nil, own, []byte("h"), header("Location: "+ref))
		switch {
		case want == "none" || want == "":
			if len(got) != 1 {
				t.Errorf("%q: got %s", ref, got[1].Path)
			}
		case len(got) != 2 || text(got[1]) != want:
			t.Errorf("%q: got %d targets, want %q", ref, len(got), want)
			if len(got) == 2 {
				t.Errorf("got %q", text(got[1]))
			}
		}
	}
	got := AppendTargets(nil, own, []byte("H:80"), header("Location: /a", "Content-Location: http://h/b", "Location: /c"))
	if len(got) != 3 || text(got[0]) != "/b/c/d;p?q" || text(got[1]) != "/a" || text(got[2]) != "/b" {
		t.Errorf("got %d", len(got))
	}
	if got := AppendTargets(nil, own, []byte("h"), header("Location: /a", "Content-Location: /a")); len(got) != 2 {
		t.Errorf("got %d targets, one of them twice", len(got))
	}
	if !ContentLocationIsTarget(own, []byte("h"), header("Content-Location: http://h/b/c/d;p?q")) || !ContentLocationIsTarget(own, []byte("h"), header("Content-Location:")) {
		t.Error("the target is not recognised")
	}
	if ContentLocationIsTarget(own, []byte("h"), nil) || ContentLocationIsTarget(own, []byte("h"), header("Content-Location: /b")) {
		t.Error("another target is recognised")
	}
}

func text(t Target) string {
	if t.HasQuery {
		return string(t.Path) + "?" + string(t.Query)
	}
	return string(t.Path)
}

// Whatever the origin writes, no target leaves the origin or the root.
func FuzzAppendTargets(f *testing.F) {
	f.Add("../a/./b?c#d", "/x/y")
	f.Add("http://h/..//../a", "/")
	f.Fuzz(func(t *testing.T, ref, path string) {
		own := Target{Path: []byte("/" + path)}
		for i, target := range AppendTargets(nil, own, []byte("h"), Header{{[]byte("Location"), []byte(ref)}}) {
			p := string(target.Path)
			if i == 0 {
				continue
			}
			if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "?#") && !strings.ContainsAny(path, "?#") {
				t.Fatalf("%q on %q gives %q", ref, path, p)
			}
			if ref != "" && ref[0] == '/' && (strings.Contains(p, "/../") || strings.HasSuffix(p, "/..")) {
				t.Fatalf("%q on %q gives %q", ref, path, p)
			}
		}
	})
}
