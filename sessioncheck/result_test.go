package sessioncheck

import (
	"strings"
	"testing"
)

func TestValidOrigin(t *testing.T) {
	for origin, want := range map[string]bool{
		"https://shop.example.com": true, "http://localhost:3000": true, "http://[::1]:8080": true, "https://a:80": true, "http://10.0.0.1": true,
		"": false, "*": false, "null": false, "shop.example.com": false, "https://": false, "https://a/": false, "https://a?b": false, "https://a#b": false,
		"https://A": false, "HTTPS://a": false, "https://a:443": false, "http://a:80": false, "https://a:": false, "https://u@a": false, "ftp://a": false,
		"https://*.a": false, "https://a b": false, "https://a,https://b": false, "https://a\r\nX: y": false, "//a": false,
	} {
		if ValidOrigin(origin) != want {
			t.Errorf("%q: %v", origin, !want)
		}
	}
}

// FuzzAppendWithout: of a Cookie line only the pairs of the session's name go, and all
// of them, as the check itself reads the line.
func FuzzAppendWithout(f *testing.F) {
	for _, line := range []string{"session_id=a", "a=b; session_id=a; c=d", "session_id =a;;session_id", " ; =; session_id=\"x;y\"", "Session_id=a"} {
		f.Add(line)
	}
	c := &Checker{sources: []source{{name: "session_id"}}}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") {
			return
		}
		out, held := c.AppendWithout(nil, []byte("Cookie"), []byte(line))
		var sc scratch
		all := &sc.found
		scanLine(c.sources, []byte("cookie"), []byte(line), all)
		if held != all[0].present {
			t.Fatalf("%q: held %v, the check finds it %v", line, held, all[0].present)
		}
		if !held {
			if len(out) > 0 {
				t.Errorf("%q: %q appended", line, out)
			}
			return
		}
		rest, ok := strings.CutSuffix(strings.TrimPrefix(string(out), "Cookie: "), "\r\n")
		clear(all[:])
		if scanLine(c.sources, []byte("cookie"), []byte(rest), all); all[0].present || ok != (len(out) > 0) {
			t.Errorf("%q leaves %q", line, out)
		}
		var kept []string
		for _, pair := range strings.Split(strings.TrimSuffix(line, ";"), ";") {
			if !c.isCookie([]byte(pair)) {
				kept = append(kept, pair)
			}
		}
		if want := strings.TrimLeft(strings.Join(kept, ";"), " \t;"); rest != want {
			t.Errorf("%q leaves %q, want %q", line, rest, want)
		}
	})
}
