package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
)

// versioned is an application whose answers change with a counter.
func versioned(v *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, v.Load()))
		if strings.HasPrefix(q.URL.Path, "/vary") {
			w.Header().Set("Vary", "Accept-Language")
		}
		fmt.Fprintf(w, "%s v%d", q.URL.RequestURI(), v.Load())
	}
}

func TestPurgeMatching(t *testing.T) {
	var v atomic.Int64
	r := newRig(t, []proxy.Rule{
		rule("mine", "/mine/**", required, ttl(time.Minute)),
		rule("all", "/**", ttl(time.Minute), func(r *proxy.Rule) { r.Cache.Tags = []string{"everything"} }),
	}, versioned(&v), 2)
	r.setSession("s1", `{"user_id":1}`)
	a, b := r.pods[0], r.pods[1]
	ctx := context.Background()
	targets := []string{"/a/1", "/a/2?x=1", "/ab", "/vary/a", "/mine/a/1"}
	get := func(p *pod, host, target string) reply {
		return p.do(t, "GET", target, "Host", host, "X-Session-ID", "s1")
	}
	for _, tc := range []struct {
		name  string
		purge func() (int, error)
		gone  []string // of host one.example
		both  bool     // of two.example too
		soft  bool
	}{
		{"prefix", func() (int, error) { return a.handler.PurgeMatching(ctx, "/a/", true, false) }, []string{"/a/1", "/a/2?x=1"}, true, false},
		{"prefix on one host", func() (int, error) { return a.handler.PurgeMatching(ctx, "One.example/a", true, false) }, []string{"/a/1", "/a/2?x=1", "/ab"}, false, false},
		{"glob", func() (int, error) { return a.handler.PurgeMatching(ctx, "/*/1", false, false) }, []string{"/a/1", "/mine/a/1"}, true, false},
		{"variants", func() (int, error) { return a.handler.PurgeMatching(ctx, "/vary/*", false, false) }, []string{"/vary/a"}, true, false},
		{"everything", func() (int, error) { return a.handler.PurgeMatching(ctx, "/", true, false) }, targets, true, false},
		{"soft prefix", func() (int, error) { return a.handler.PurgeMatching(ctx, "/a/", true, true) }, []string{"/a/1", "/a/2?x=1"}, true, true},
		{"soft url", func() (int, error) { return a.handler.PurgeExactly(ctx, "one.example", "/vary/%61") }, []string{"/vary/a"}, false, true},
		{"soft tag", func() (int, error) { return 1, a.store.SoftPurgeTag(ctx, "everything") }, []string{"/a/1", "/a/2?x=1", "/ab", "/vary/a"}, true, true},
		{"hard tag after soft", func() (int, error) { return 1, a.store.PurgeTag(ctx, "everything") }, []string{"/a/1", "/a/2?x=1", "/ab", "/vary/a"}, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hosts := []string{"one.example", "two.example"}
			for _, p := range []*pod{a, b} {
				for _, h := range hosts {
					for _, target := range targets {
						get(p, h, target)
						if got := get(p, h, target); !strings.Contains(got.cacheStatus(), "; hit") {
							t.Fatalf("before: %s%s: %+v", h, target, got)
						}
					}
				}
			}
			v.Add(1)
			want := fmt.Sprintf(" v%d", v.Load())
			if n, err := tc.purge(); err != nil || n == 0 {
				t.Fatalf("purged %d, %v", n, err)
			}
			for _, h := range hosts {
				for _, target := range targets {
					purged := (h == "one.example" || tc.both) && contains(tc.gone, target)
					got := get(a, h, target)
					if fresh := strings.HasSuffix(got.body, want); fresh != purged {
						t.Errorf("%s%s: %q (%s), purged should be %v", h, target, got.body, got.cacheStatus(), purged)
					}
					if purged && tc.soft && !strings.Contains(got.cacheStatus(), "fwd=stale") {
						t.Errorf("%s%s: a soft purge leaves something to validate: %s", h, target, got.cacheStatus())
					}
					if purged {
						eventually(t, "pod B has the new version", func() bool { return strings.HasSuffix(get(b, h, target).body, want) })
					}
				}
			}
		})
	}
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

func TestPurgeMethod(t *testing.T) {
	var v atomic.Int64
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, versioned(&v), 1)
	closed := r.pods[0]
	if got := closed.do(t, "PURGE", "/x"); got.status != 200 || got.body != "/x v0" {
		t.Errorf("PURGE without purge_from is the application's: %+v", got)
	}
	r.purgeFrom = []string{"127.0.0.0/8"}
	open := r.addPod()
	open.do(t, "GET", "/x")
	v.Add(1)
	if got := open.do(t, "PURGE", "/x"); got.status != 200 || !strings.Contains(got.body, `"found":true`) {
		t.Errorf("PURGE: %+v", got)
	}
	if got := open.do(t, "GET", "/x"); got.body != "/x v1" {
		t.Errorf("after PURGE: %+v", got)
	}
	r.purgeFrom = []string{"10.0.0.0/8"}
	other := r.addPod()
	if got := other.do(t, "PURGE", "/x"); got.status != 403 {
		t.Errorf("PURGE from elsewhere: %+v", got)
	}
}

// A successful unsafe request invalidates what is stored for its target.
func TestInvalidation(t *testing.T) {
	var v atomic.Int64
	r := newRig(t, []proxy.Rule{rule("mine", "/mine/**", required, ttl(time.Minute)), rule("all", "/**", ttl(time.Minute))},
		func(w http.ResponseWriter, q *http.Request) {
			if q.Method != "GET" {
				_, _ = io.Copy(io.Discard, q.Body)
				if q.Header.Get("X-Fail") != "" {
					w.WriteHeader(500)
					return
				}
				w.Header().Set("Location", "/other?x=1")
				w.Header().Set("Content-Location", "http://elsewhere.example/elsewhere")
				if g := q.Header.Get("X-Group"); g != "" {
					w.Header().Set("Cache-Group-Invalidation", `"`+g+`"`)
				}
				return
			}
			if strings.HasPrefix(q.URL.Path, "/grouped") {
				w.Header().Set("Cache-Groups", `"g1", "g2"`)
			}
			versioned(&v)(w, q)
		}, 1)
	r.setSession("s1", `{"user_id":1}`)
	r.setSession("s2", `{"user_id":2}`)
	p := r.pods[0]
	get := func(target, session string) string { return p.do(t, "GET", target, "X-Session-ID", session).body }
	warm := func() {
		for _, target := range []string{"/x", "/other?x=1", "/elsewhere", "/mine/x", "/grouped"} {
			for _, session := range []string{"s1", "s2"} {
				// Right after a purge of its group a response is not stored: the purge
				// could have come meanwhile.
				eventually(t, "stored", func() bool {
					return strings.Contains(p.do(t, "GET", target, "X-Session-ID", session).cacheStatus(), "; hit")
				})
			}
		}
	}
	fresh := func(target, session string) bool {
		return strings.HasSuffix(get(target, session), fmt.Sprintf(" v%d", v.Load()))
	}
	for _, tc := range []struct {
		name, method, target string
		header               []string
		gone, kept           [][2]string
	}{
		{"POST", "POST", "/x", nil, [][2]string{{"/x", "s1"}, {"/other?x=1", "s1"}}, [][2]string{{"/elsewhere", "s1"}, {"/mine/x", "s1"}}},
		{"DELETE of one's own", "DELETE", "/mine/x", nil, [][2]string{{"/mine/x", "s1"}}, [][2]string{{"/mine/x", "s2"}, {"/x", "s1"}}},
		{"failed PUT", "PUT", "/x", []string{"X-Fail", "1"}, nil, [][2]string{{"/x", "s1"}}},
		{"OPTIONS", "OPTIONS", "/x", nil, nil, [][2]string{{"/x", "s1"}}},
		{"group", "PATCH", "/y", []string{"X-Group", "g2"}, [][2]string{{"/grouped", "s1"}}, [][2]string{{"/x", "s1"}}},
		{"another group", "PATCH", "/y", []string{"X-Group", "g3"}, nil, [][2]string{{"/grouped", "s1"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			must(t, p.store.PurgeTag(context.Background(), "unused"))
			_, err := p.handler.PurgeMatching(context.Background(), "/", true, false)
			must(t, err)
			warm()
			v.Add(1)
			p.do(t, tc.method, tc.target, append([]string{"X-Session-ID", "s1"}, tc.header...)...)
			for _, g := range tc.gone {
				if !fresh(g[0], g[1]) {
					t.Errorf("%s of %s was not invalidated", g[0], g[1])
				}
			}
			for _, k := range tc.kept {
				if fresh(k[0], k[1]) {
					t.Errorf("%s of %s was invalidated", k[0], k[1])
				}
			}
		})
	}
}

func TestSurrogateTags(t *testing.T) {
	var v atomic.Int64
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Tag", "a, b")
		w.Header().Set("Surrogate-Key", "c d")
		versioned(&v)(w, q)
	}, 1)
	p := r.pods[0]
	for _, tag := range []string{"a", "b", "c", "d"} {
		p.do(t, "GET", "/x")
		if got := p.do(t, "GET", "/x"); !strings.Contains(got.cacheStatus(), "; hit") {
			t.Fatalf("%+v", got)
		}
		v.Add(1)
		must(t, p.store.PurgeTag(context.Background(), tag))
		// The first fill after a purge cannot tell it from one that came meanwhile.
		if got := p.do(t, "GET", "/x"); got.body != fmt.Sprintf("/x v%d", v.Load()) {
			t.Errorf("after the purge of %s: %+v", tag, got)
		}
		eventually(t, "stored again", func() bool { return strings.Contains(p.do(t, "GET", "/x").cacheStatus(), "; hit") })
	}
}

// A purge that comes while a response with tags of its own is on the way.
func TestSurrogateTagPurgedMeanwhile(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var v atomic.Int64
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		body := fmt.Sprint("v", v.Load())
		if v.Load() == 0 {
			arrived <- struct{}{}
			<-release
		}
		w.Header().Set("Cache-Tag", "a")
		io.WriteString(w, body)
	}, 1)
	p := r.pods[0]
	done := make(chan reply)
	go func() { done <- p.do(t, "GET", "/x") }()
	<-arrived
	v.Add(1)
	must(t, p.store.PurgeTag(context.Background(), "a"))
	close(release)
	if got := <-done; got.body != "v0" || strings.Contains(got.cacheStatus(), "stored") {
		t.Errorf("the fill: %+v", got)
	}
	if got := p.do(t, "GET", "/x"); got.body != "v1" {
		t.Errorf("after it: %+v", got)
	}
}

// A POST that says that its response is what a GET would give.
func TestPostAnswersLaterGet(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", func(r *proxy.Rule) { r.Cache.Post = true })}, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		if q.URL.Path != "/silent" {
			w.Header().Set("Content-Location", q.URL.Path)
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "by %s", q.Method)
	}, 1)
	p := r.pods[0]
	for path, want := range map[string]string{"/said": "by POST", "/silent": "by GET"} {
		if got := p.send(t, "POST", path, strings.NewReader("x")); got.body != "by POST" {
			t.Errorf("%+v", got)
		}
		if got := p.do(t, "GET", path); got.body != want {
			t.Errorf("GET %s: %+v, want %s", path, got, want)
		}
	}
}

// A URL whose entries have more in their keys than the URL is purged as a whole.
func TestPurgeURLWithAKeyOfItsOwn(t *testing.T) {
	var v atomic.Int64
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute), func(r *proxy.Rule) {
		r.Cache.Key.Headers, r.Cache.Key.Cookies = []string{"X-Plan"}, []string{"ab"}
	})}, versioned(&v), 1)
	p := r.pods[0]
	get := func(plan, cookie string) string {
		return p.do(t, "GET", "/x", "Host", "h", "X-Plan", plan, "Cookie", "z=1; ab="+cookie).body
	}
	get("a", "1")
	v.Add(1)
	for _, k := range [][2]string{{"b", "1"}, {"a", "2"}} {
		if got := get(k[0], k[1]); got != "/x v1" {
			t.Errorf("%v shares an entry with another key: %s", k, got)
		}
	}
	if got := get("a", "1"); got != "/x v0" {
		t.Errorf("the first key: %s", got)
	}
	v.Add(1)
	found, err := p.handler.PurgeURL(context.Background(), "h", "/x")
	if err != nil || !found {
		t.Fatalf("%v %v", found, err)
	}
	for _, k := range [][2]string{{"a", "1"}, {"b", "1"}, {"a", "2"}} {
		if got := get(k[0], k[1]); got != "/x v2" {
			t.Errorf("%v after the purge: %s", k, got)
		}
	}
}

func TestBypass(t *testing.T) {
	var v atomic.Int64
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute), func(r *proxy.Rule) {
		r.Cache.Bypass.Cookies = map[string]string{"preview": "*"}
	})}, versioned(&v), 1)
	p := r.pods[0]
	p.do(t, "GET", "/x")
	v.Add(1)
	if got := p.do(t, "GET", "/x", "Cookie", "preview=1"); got.body != "/x v1" || got.cacheStatus() != "pillion; fwd=bypass" {
		t.Errorf("with the cookie: %+v", got)
	}
	if got := p.do(t, "GET", "/x"); got.body != "/x v0" {
		t.Errorf("without it: %+v", got)
	}
}

// A header that clients choose freely cannot fill Redis with variants.
func TestVariantsAreBounded(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Vary", "X-Any")
		io.WriteString(w, q.Header.Get("X-Any"))
	}, 1)
	p := r.pods[0]
	stored := 0
	for i := range 100 {
		if strings.Contains(p.do(t, "GET", "/x", "X-Any", fmt.Sprint(i)).cacheStatus(), "stored") {
			stored++
		}
	}
	if stored != cache.MaxVariants {
		t.Errorf("%d variants were stored, want %d", stored, cache.MaxVariants)
	}
	if got := p.do(t, "GET", "/x", "X-Any", "3"); got.body != "3" || !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("one of the first: %+v", got)
	}
	if got := p.do(t, "GET", "/x", "X-Any", "99"); got.body != "99" || !strings.Contains(got.cacheStatus(), "variants") {
		t.Errorf("one too many: %+v", got)
	}
}
