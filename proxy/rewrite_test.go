package proxy_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

// lastRequest is what the application got last.
type lastRequest struct {
	mu     sync.Mutex
	target string
	host   string
	header http.Header
}

func (g *lastRequest) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	g.mu.Lock()
	g.target, g.host, g.header = q.RequestURI, q.Host, q.Header.Clone()
	g.mu.Unlock()
	io.WriteString(w, "ok")
}

func (g *lastRequest) last() (target, host string, header http.Header) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.target, g.host, g.header
}

func rewrite(strip, add string) func(*proxy.Rule) {
	return func(r *proxy.Rule) { r.Rewrite = proxy.Rewrite{StripPrefix: strip, AddPrefix: add} }
}

func uncached(r *proxy.Rule) { r.Cache.Mode = "off" }

func methods(list ...string) func(*proxy.Rule) {
	return func(r *proxy.Rule) { r.Match.Methods = list }
}

func allow(words ...string) func(*proxy.Rule) {
	return func(r *proxy.Rule) { r.Allow = words }
}

func TestRewrite(t *testing.T) {
	var app lastRequest
	r := newRig(t, []proxy.Rule{
		rule("both", "/api/**", uncached, rewrite("/api", "/v1")),
		rule("strip", "/only/**", uncached, rewrite("/only", "")),
		rule("add", "/add", uncached, rewrite("", "/pre")),
		rule("odd", "/odd/**", uncached, rewrite("/odd", ""), allow("encoded_slash")),
		rule("any", "", uncached, rewrite("/x", "")),
	}, app.ServeHTTP, 0)
	trusting := r.addPod()
	r.cfg.TrustedProxies = nil
	strict := r.addPod()
	const given = "X-Forwarded-Prefix: /outer/\r\n"
	for _, tc := range []struct{ request, lines, target, prefix, behindProxy string }{
		{"GET /api/x?q=/api", "", "/v1/x?q=/api", "/api", "/api"},
		{"GET /api", "", "/v1/", "/api", "/api"},
		{"GET /api/", given, "/v1/", "/api", "/outer/api"},
		{"GET /%61pi/x", "", "/v1/x", "/api", "/api"},
		{"GET /apix", given, "/apix", "", "/outer"},
		{"GET /only", "", "/", "/only", "/only"},
		{"GET /only/a/b/", "X_forwarded_PREFIX: /outer\r\n", "/a/b/", "/only", "/outer/only"},
		{"GET /add?", "", "/pre/add?", "", ""},
		{"GET /odd/a%2fb", "", "/a%2Fb", "/odd", "/odd"},
		{"GET /x/y", "", "/y", "/x", "/x"},
		{"GET /xy", "X-Forwarded-Prefix: /\r\n", "/xy", "", ""},
		{"OPTIONS *", "", "*", "", ""},
	} {
		for p, prefix := range map[*pod]string{strict: tc.prefix, trusting: tc.behindProxy} {
			if reply := p.raw(t, tc.request+" HTTP/1.1\r\nHost: h\r\n"+tc.lines+"\r\n"); reply.status != 200 {
				t.Fatalf("%s: %+v", tc.request, reply)
			}
			target, _, header := app.last()
			if target != tc.target {
				t.Errorf("%s: the application got %s, want %s", tc.request, target, tc.target)
			}
			if got := strings.Join(header.Values("X-Forwarded-Prefix"), "|"); got != prefix || header["X_forwarded_prefix"] != nil {
				t.Errorf("%s %s: prefix %q, want %q", tc.request, tc.lines, got, prefix)
			}
		}
	}
}

// TestRewriteAndCache: the cache, and purges, know the URL of the client.
func TestRewriteAndCache(t *testing.T) {
	var app lastRequest
	r := newRig(t, []proxy.Rule{
		rule("a", "/a/**", ttl(time.Hour), rewrite("/a", "")),
		rule("b", "/b/**", ttl(time.Hour), rewrite("/b", "")),
	}, app.ServeHTTP, 1)
	p := r.pods[0]
	for _, path := range []string{"/a/x", "/b/x"} {
		p.do(t, "GET", path, "Host", "h", "X-Forwarded-Prefix", "/evil")
		if target, _, header := app.last(); target != "/x" || !slices.Equal(header.Values("X-Forwarded-Prefix"), []string{path[:2]}) {
			t.Errorf("%s: the application got %s %v", path, target, header)
		}
	}
	if n := r.calls.Load(); n != 2 {
		t.Errorf("%d requests reached the application, want one for each URL", n)
	}
	hit := func(path string) bool {
		return strings.Contains(p.do(t, "GET", path, "Host", "h").cacheStatus(), "; hit")
	}
	if !hit("/a/x") || !hit("/b/x") {
		t.Error("what was stored is not found")
	}
	if found, err := p.handler.PurgeURL(context.Background(), "h", "/a/x"); !found || err != nil {
		t.Errorf("the purge of the client's URL: %t %v", found, err)
	}
	eventually(t, "the purge is seen", func() bool { return !hit("/a/x") })
	if !hit("/b/x") {
		t.Error("the purge took another URL away")
	}
}

func TestMaxBodyOfARule(t *testing.T) {
	bounded := func(n int) func(*proxy.Rule) { return func(r *proxy.Rule) { r.MaxBody = sizeOf(n) } }
	r := newRig(t, []proxy.Rule{rule("big", "/big", bounded(200_000)), rule("small", "/small", bounded(512)), rule("all", "/**")},
		func(w http.ResponseWriter, q *http.Request) {
			b, _ := io.ReadAll(q.Body)
			io.WriteString(w, strings.Repeat("x", min(len(b), 3)))
		}, 0)
	r.cfg.MaxBody = sizeOf(2048)
	p := r.addPod()
	for _, tc := range []struct {
		path   string
		size   int
		status int
	}{
		{"/big", 200_000, 200}, {"/big", 200_001, 413}, {"/small", 512, 200}, {"/small", 513, 413}, {"/other", 2048, 200}, {"/other", 2049, 413},
	} {
		body := strings.Repeat("b", tc.size)
		for kind, reader := range map[string]io.Reader{"length": strings.NewReader(body), "chunked": io.MultiReader(strings.NewReader(body))} {
			got := p.send(t, "POST", tc.path, reader)
			if got.status != tc.status || tc.status == 413 && got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s with %d bytes, %s: %+v", tc.path, tc.size, kind, got)
			}
		}
	}
	// The rule is not known yet when the client asks whether to send: the largest bound
	// of all counts.
	for length, status := range map[string]int{"4096": 100, "200001": 413} {
		if got := p.raw(t, "POST /big HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "+length+"\r\n\r\n"); got.status != status {
			t.Errorf("Expect with %s bytes: %d, want %d", length, got.status, status)
		}
	}
}

func TestOddPaths(t *testing.T) {
	var app lastRequest
	r := newRig(t, []proxy.Rule{
		rule("admin", "/admin/**", required),
		rule("secret", "/docs/secret/**", required),
		rule("docs", "/docs/**", uncached, allow("encoded_slash", "empty_segment")),
		rule("slash", "/slash/**", uncached, allow("encoded_slash")),
		rule("empty", "/empty/**", uncached, allow("empty_segment")),
		rule("one", "/one/{id}", uncached, allow("encoded_slash", "empty_segment")),
		rule("all", "/**", uncached),
	}, app.ServeHTTP, 1)
	p := r.pods[0]
	for _, tc := range []struct {
		target, want, reason string // what the application gets, or why it gets nothing
	}{
		{"/docs/a%2fb", "/docs/a%2Fb", ""},
		{"/docs/a//b", "/docs/a//b", ""},
		{"/docs//a%2f%2fb//", "/docs//a%2F%2Fb//", ""},
		{"/slash/a%2fb", "/slash/a%2Fb", ""},
		{"/empty/a//b", "/empty/a//b", ""},
		{"/slash/a//b", "", "empty_segment"},
		{"/slash/a%2f%2fb", "", "empty_segment"}, // for who decodes
		{"/slash/a/%2fb", "", "empty_segment"},
		{"/empty/a%2fb", "", "escape"},
		{"/all/a%2fb", "", "escape"},
		{"/all//b", "", "empty_segment"},
		{"//docs/a", "", "empty_segment"},
		{"/docs%2fa", "", "escape"},
		{"/admin/a%2fb", "", "escape"}, // before the session is looked at
		{"/docs/secret%2fx", "", "encoded_slash"},
		{"/docs//secret/x", "", "empty_segment"},
		{"/docs/%2fsecret/x", "", "encoded_slash"},
		{"/docs%2f/secret/x", "", "escape"},
		{"/one/a%2fb", "", "encoded_slash"},
		{"/one/a%2f", "", "encoded_slash"},
		{"/docs/..%2fadmin/x", "", "dot_segment"},
		{"/docs%2f..%2fadmin/x", "", "dot_segment"},
		{"/docs/a%2f.", "", "dot_segment"},
		{"/docs/a%2f..;x/admin", "", "dot_segment"},
		{"/docs/a%2f%2e%2e%2fb", "", "dot_segment"},
		{"/docs/..//a", "", "dot_segment"},
		{"/docs//.", "", "dot_segment"},
		{"/docs/a%5cb", "", "escape"},
		{"/docs/a%00b", "", "escape"},
		{"/docs/a%252fb", "/docs/a%252fb", ""}, // no slash until it is decoded twice
	} {
		before, calls := p.handler.Stats().Refused[tc.reason], r.calls.Load()
		reply := p.raw(t, "GET "+tc.target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		if tc.reason != "" {
			if reply.status != 400 || p.handler.Stats().Refused[tc.reason] != before+1 || r.calls.Load() != calls {
				t.Errorf("%s: %d %s, want 400 for %s", tc.target, reply.status, reply.body, tc.reason)
			}
			continue
		}
		if target, _, _ := app.last(); reply.status != 200 || target != tc.want {
			t.Errorf("%s: %d, the application got %s, want %s", tc.target, reply.status, target, tc.want)
		}
	}
}

// TestPurgeOfOddPaths: what can be stored can be purged, and nothing else is asked for.
func TestPurgeOfOddPaths(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("odd", "/odd/**", ttl(time.Hour), allow("encoded_slash", "empty_segment")), rule("all", "/**", ttl(time.Hour))}, echo, 0)
	r.purgeFrom = []string{"127.0.0.0/8"}
	p := r.addPod()
	for _, path := range []string{"/odd/a%2Fb", "/odd/a//b"} {
		get := func() string {
			return p.raw(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n").cacheStatus()
		}
		get()
		if got := get(); !strings.Contains(got, "; hit") {
			t.Fatalf("%s: %s", path, got)
		}
		if got := p.raw(t, "PURGE "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"); got.status != 200 || !strings.Contains(got.body, `"found":true`) {
			t.Errorf("%s: %+v", path, got)
		}
		if got := get(); strings.Contains(got, "; hit") {
			t.Errorf("%s after the purge: %s", path, got)
		}
	}
	if got := p.raw(t, "PURGE /a%2Fb HTTP/1.1\r\nHost: h\r\n\r\n"); got.status != 400 {
		t.Errorf("a path that no request can have: %+v", got)
	}
}
