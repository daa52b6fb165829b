package rules

import (
	"net/url"
	"regexp"
	"strings"
)

// The reference: the same rules by other means, one by one, through regexp and
// net/url. Only Compile's view of what a valid pattern is is shared.

type reference []refRule

type refRule struct {
	Match
	path *regexp.Regexp // nil: any
}

func newReference(matches []Match) reference {
	var ref reference
	for _, m := range matches {
		r := refRule{Match: m}
		if m.Path != "" {
			r.path = refPath(m.Path)
		}
		ref = append(ref, r)
	}
	return ref
}

func (ref reference) match(r *Request) int {
	path := byteRunes(r.Path)
	for i, m := range ref {
		if (m.path == nil || strings.HasPrefix(path, "/") && m.path.MatchString(path)) &&
			refMethod(m.Methods, string(r.Method)) && refHost(m.Hosts, string(r.Host)) &&
			refHeaders(m.Headers, r.Headers) && refQuery(m.Query, string(r.RawQuery)) {
			return i
		}
	}
	return -1
}

// byteRunes makes each byte one rune, since regexp cannot match single bytes.
func byteRunes[T string | []byte](s T) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func refPath(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	for _, part := range strings.Split(pattern[1:], "/") {
		switch {
		case part == "**":
			b.WriteString("(?:/[^/]*)*")
		case part == "*":
			b.WriteString("/[^/]+")
		case strings.HasPrefix(part, "{"):
			b.WriteString("/(?P<" + strings.Trim(part, "{}") + ">[^/]+)")
		default:
			text, _ := canonicalLiteral(part)
			b.WriteString("/" + strings.ReplaceAll(regexp.QuoteMeta(byteRunes(text)), `\*`, "[^/]*"))
		}
	}
	return regexp.MustCompile("(?s)" + b.String() + "$")
}

func refGlob(g, value string) bool {
	re := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(byteRunes(g)), `\*`, ".*") + "$"
	return regexp.MustCompile(re).MatchString(byteRunes(value))
}

func refMethod(methods []string, method string) bool {
	for _, m := range methods {
		if m == method || m == "GET" && method == "HEAD" {
			return true
		}
	}
	return len(methods) == 0
}

func refHost(hosts []string, host string) bool {
	host = strings.ToLower(regexp.MustCompile(`:[^:\]]*$`).ReplaceAllString(host, ""))
	host = strings.TrimSuffix(host, ".")
	for _, h := range hosts {
		h = strings.TrimSuffix(strings.ToLower(h), ".")
		if base, ok := strings.CutPrefix(h, "*"); ok {
			if strings.HasSuffix(host, base) && len(host) > len(base) {
				return true
			}
		} else if h == host {
			return true
		}
	}
	return len(hosts) == 0
}

func refHeaders(want map[string]string, src HeaderSource) bool {
	for name, g := range want {
		found := false
		for _, v := range src.PeekAll(name) {
			found = found || refGlob(g, string(v))
		}
		if !found {
			return false
		}
	}
	return true
}

func refQuery(want map[string]string, raw string) bool {
	for name, g := range want {
		found := false
		for _, pair := range strings.Split(raw, "&") {
			k, v, _ := strings.Cut(pair, "=")
			found = found || pair != "" && refUnescape(k) == name && refGlob(g, refUnescape(v))
		}
		if !found {
			return false
		}
	}
	return true
}

func refUnescape(s string) string {
	bad := regexp.MustCompile(`%([^0-9a-fA-F]|[0-9a-fA-F][^0-9a-fA-F]|[0-9a-fA-F]?$)`)
	for bad.MatchString(s) {
		s = bad.ReplaceAllString(s, "%25$1")
	}
	out, err := url.QueryUnescape(s)
	if err != nil {
		panic(err)
	}
	return out
}

// headerMap is a HeaderSource for tests.
type headerMap map[string][]string

func (h headerMap) PeekAll(name string) [][]byte {
	var out [][]byte
	for k, vs := range h {
		for _, v := range vs {
			if strings.EqualFold(k, name) {
				out = append(out, []byte(v))
			}
		}
	}
	return out
}
