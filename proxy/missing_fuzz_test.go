package proxy

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzCarried: whatever a client asks for that the guard lets pass, the redirect stays
// on this site, and so does what the application finds in it.
func FuzzCarried(f *testing.F) {
	for _, target := range []string{"/a?b=c", "//evil.example", "/%2Fevil.example", "/%2f%2fevil", "/a//b", "/?//", "/a;b", "/%E2%80%AE", "/" + strings.Repeat("a", 2050)} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		path, query, has := strings.Cut(target, "?")
		x := new(exchange)
		x.hasQuery = has
		var r *refusal
		if !strings.HasPrefix(path, "/") {
			return
		}
		if x.path, _, r = canonicalPath(nil, []byte(path)); r != nil {
			return
		}
		if x.query, r = canonicalQuery(nil, []byte(query)); r != nil {
			return
		}
		got := string(x.appendCarried([]byte("/login?next=")))
		u, err := url.Parse(got)
		if err != nil || u.Path != "/login" || u.Host != "" || u.Fragment != "" || strings.ContainsAny(got, "\r\n\\# ") {
			t.Fatalf("%q gives %q: %v", target, got, err)
		}
		values, err := url.ParseQuery(u.RawQuery)
		next := values.Get("next")
		lower := strings.ToLower(next)
		if err != nil || len(values) != 1 || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.HasPrefix(lower, "/%2f") || strings.HasPrefix(next, "/\\") {
			t.Errorf("%q gives %q, which leads to %q: %v", target, got, next, err)
		}
	})
}
