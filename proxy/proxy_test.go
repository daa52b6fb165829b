package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/proxy"
)

func TestMissThenHit(t *testing.T) {
	date := time.Now().Add(-5 * time.Second).UTC().Format(http.TimeFormat)
	r := newRig(t, []proxy.Rule{rule("products", "/products/{id}", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Date", date)
		w.Header()["X-Many"] = []string{"a", "b"}
		fmt.Fprint(w, `{"id":1}`)
	}, 2)
	a, b := r.pods[0], r.pods[1]
	first := a.do(t, "GET", "/products/1")
	if first.status != 200 || first.body != `{"id":1}` || first.cacheStatus() != "pillion; fwd=uri-miss; fwd-status=200; stored" {
		t.Fatalf("first: %+v", first)
	}
	for _, p := range []*pod{a, b, b, a} {
		hit := p.do(t, "GET", "/products/1")
		if hit.status != 200 || hit.body != first.body || !strings.HasPrefix(hit.cacheStatus(), "pillion; hit; ttl=") {
			t.Fatalf("hit: %+v", hit)
		}
		if hit.header.Get("Date") != date || hit.header.Get("Content-Type") != "application/json" || hit.header.Get("Age") == "" {
			t.Fatalf("hit's header: %v", hit.header)
		}
		if v := hit.header.Values("X-Many"); len(v) != 2 || v[0] != "a" || v[1] != "b" {
			t.Fatalf("repeated fields: %v", v)
		}
	}
	head := b.do(t, "HEAD", "/products/1")
	if head.status != 200 || head.body != "" || head.header.Get("Content-Length") != "8" || !strings.Contains(head.cacheStatus(), "hit") {
		t.Fatalf("HEAD: %+v", head)
	}
	if n := r.calls.Load(); n != 1 {
		t.Fatalf("the application was called %d times, want once", n)
	}
}

func TestWhatIsNotStored(t *testing.T) {
	header := map[string][2]string{
		"/set-cookie": {"Set-Cookie", "a=1"}, "/private": {"Cache-Control", "private"}, "/no-store": {"Cache-Control", "no-store"},
		"/vary-all": {"Vary", "*"}, "/no-cache": {"Cache-Control", "no-cache"},
	}
	r := newRig(t, []proxy.Rule{rule("off", "/off", func(r *proxy.Rule) { r.Cache.Mode = cache.ModeOff }), rule("all", "/**", ttl(time.Minute))},
		func(w http.ResponseWriter, q *http.Request) {
			if h, ok := header[q.URL.Path]; ok {
				w.Header().Set(h[0], h[1])
			}
			echo(w, q)
		}, 1)
	p := r.pods[0]
	try := func(method, path string, h ...string) {
		t.Helper()
		before := r.calls.Load()
		for range 3 {
			if got := p.do(t, method, path, h...); strings.Contains(got.cacheStatus(), "hit") || got.status != 200 {
				t.Errorf("%s %s: %+v", method, path, got)
			}
		}
		if n := r.calls.Load() - before; n != 3 {
			t.Errorf("%s %s: the application was called %d times, want 3", method, path, n)
		}
	}
	for path := range header {
		try("GET", path)
	}
	try("GET", "/off")
	try("POST", "/post")
	try("GET", "/auth", "Authorization", "Bearer x")
	try("GET", "/request-no-store", "Cache-Control", "no-store")
}

func TestNegativeTTL(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("p", "/p/{id}", ttl(time.Minute), func(r *proxy.Rule) { r.Cache.NegativeTTL = time.Minute })},
		func(w http.ResponseWriter, q *http.Request) { http.Error(w, "no such product", 404) }, 1)
	for range 5 {
		if got := r.pods[0].do(t, "GET", "/p/nope"); got.status != 404 || got.body != "no such product\n" {
			t.Fatalf("%+v", got)
		}
	}
	if n := r.calls.Load(); n != 1 {
		t.Fatalf("the application was called %d times, want once", n)
	}
}

func TestVary(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Vary", "Accept-Language")
		fmt.Fprint(w, "lang="+q.Header.Get("Accept-Language"))
	}, 2)
	for _, p := range []*pod{r.pods[0], r.pods[1], r.pods[0]} {
		for _, lang := range []string{"de", "fr", ""} {
			if got := p.do(t, "GET", "/x", "Accept-Language", lang); got.body != "lang="+lang {
				t.Fatalf("asked for %q, got %+v", lang, got)
			}
		}
	}
	if n := r.calls.Load(); n != 3 {
		t.Fatalf("the application was called %d times, want once for each of 3 variants", n)
	}
}

func TestFiftyFirstRequestsReachTheApplicationOnce(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		<-release
		echo(w, q)
	}, 2)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if got := r.pods[i%2].do(t, "GET", "/slow"); got.status != 200 || got.body != "GET /slow user=" {
				t.Errorf("%+v", got)
			}
		})
	}
	eventually(t, "the application is called", func() bool { return r.calls.Load() > 0 })
	close(release)
	wg.Wait()
	if n := r.calls.Load(); n != 1 {
		t.Fatalf("50 requests to two pods called the application %d times, want once", n)
	}
}

// TestStoredBeforeTheLease: what another pod stores after this one has looked for it, and
// before this one takes the lease, is served and not fetched again.
func TestStoredBeforeTheLease(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, echo, 1)
	var link *redistest.Proxy
	r.via = func(addr string) string {
		link = redistest.StartProxy(t, addr)
		return link.Addr
	}
	late := r.addPod()
	lease := link.Trap(func(words [][]byte) bool {
		return string(words[0]) == "SET" && slices.ContainsFunc(words, func(w []byte) bool { return string(w) == "NX" })
	}, redistest.Hold)
	answer := make(chan string)
	go func() { answer <- late.do(t, "GET", "/x").header.Get("Cache-Status") }()
	<-lease.Sprung()
	r.pods[0].do(t, "GET", "/x")
	lease.Pass()
	if got := <-answer; !strings.Contains(got, "collapsed") || r.calls.Load() != 1 {
		t.Errorf("%s, after %d calls of the application", got, r.calls.Load())
	}
}

func TestUncacheableIsNotSerialised(t *testing.T) {
	const n = 20
	var waiting atomic.Int64
	all := make(chan struct{})
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("X-Wait") == "" {
			return
		}
		if waiting.Add(1) == n {
			close(all)
		}
		<-all // answers only when all are here at once
	}, 1)
	for range 2 { // twice uncacheable: known as such
		r.pods[0].do(t, "GET", "/x")
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { r.pods[0].do(t, "GET", "/x", "X-Wait", "1") })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("at most %d of %d uncacheable requests were at the application together", waiting.Load(), n)
	}
}

func TestSessions(t *testing.T) {
	r := newRig(t, []proxy.Rule{
		rule("public", "/public"),
		rule("admin", "/admin/**", required, func(r *proxy.Rule) { r.Session.Require = map[string][]string{"role": {"admin"}} }),
		rule("profile", "/profile", required, ttl(time.Minute)),
	}, echo, 2)
	r.setSession("s1", `{"user_id": 1, "role": "admin"}`)
	r.setSession("s2", `{"user_id": 2}`)
	a, b := r.pods[0], r.pods[1]
	for _, tc := range []struct {
		path   string
		header []string
		status int
		body   string
	}{
		{"/profile", nil, 401, "session"},
		{"/profile", []string{"X-Session-ID", "nope"}, 401, "session"},
		{"/profile", []string{"X-Session-ID", "s1"}, 200, "user=1"},
		{"/profile", []string{"Cookie", "a=b; session_id=s2"}, 200, "user=2"},
		{"/profile", []string{"X-Session-ID", "s1", "Cookie", "session_id=s2"}, 200, "user=1"},
		{"/unmatched", nil, 401, ""},
		{"/unmatched", []string{"X-Session-ID", "s2"}, 200, "user=2"},
		{"/admin/x", []string{"X-Session-ID", "s1"}, 200, "user=1"},
		{"/admin/x", []string{"X-Session-ID", "s2"}, 403, ""},
		{"/public", []string{"X-User-Id", "666"}, 200, "user="},
		{"/public", []string{"x_user_id", "666"}, 200, "user="},
	} {
		for _, p := range []*pod{a, b, a} {
			got := p.do(t, "GET", tc.path, tc.header...)
			if got.status != tc.status || !strings.Contains(got.body, tc.body) {
				t.Errorf("%s %v: %+v", tc.path, tc.header, got)
			}
			if got.status >= 400 && got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: not problem details: %v", tc.path, got.header)
			}
		}
	}
	r.del("session:s1")
	for _, p := range []*pod{a, b} {
		eventually(t, "401 after DEL", func() bool { return p.do(t, "GET", "/profile", "X-Session-ID", "s1").status == 401 })
	}
}

func TestRequestBodies(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		b, err := io.ReadAll(q.Body)
		fmt.Fprintf(w, "%d %v te=%v cl=%d", len(b), err, q.TransferEncoding, q.ContentLength)
	}, 1)
	r.cfg.MaxBody = 1 << 20
	p := r.addPod()
	for _, size := range []int{0, 1, 1000, 70_000, 1 << 20} {
		got := p.send(t, "POST", "/x", strings.NewReader(strings.Repeat("x", size)))
		if want := fmt.Sprintf("%d <nil> te=[] cl=%d", size, size); got.body != want {
			t.Errorf("%d bytes with a length: %q, want %q", size, got.body, want)
		}
		if size == 0 {
			continue
		}
		got = p.send(t, "PUT", "/x", io.MultiReader(strings.NewReader(strings.Repeat("x", size)))) // chunked
		if want := fmt.Sprintf("%d <nil> te=[chunked] cl=-1", size); got.body != want {
			t.Errorf("%d bytes chunked: %q, want %q", size, got.body, want)
		}
	}
	if got := p.raw(t, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\nx"); got.status != 413 {
		t.Errorf("too long a length: %+v", got)
	}
	if got := p.raw(t, "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n"+strings.Repeat("x", 1<<20+1)+"\r\n"); got.status != 413 {
		t.Errorf("too many chunks: %+v", got)
	}
	if got := p.raw(t, "POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n"); got.status != 413 {
		t.Errorf("too long a length, not sent yet: %+v", got)
	}
	req, err := http.NewRequest("POST", "http://"+p.addr+"/x", strings.NewReader("expected"))
	must(t, err)
	req.Header.Set("Expect", "100-continue")
	resp, err := (&http.Transport{ExpectContinueTimeout: time.Minute}).RoundTrip(req)
	must(t, err)
	body, _ := io.ReadAll(resp.Body)
	if want := "8 <nil> te=[] cl=8"; string(body) != want {
		t.Errorf("Expect: 100-continue: %q, want %q", body, want)
	}
}

func TestLargeAndStreamedResponses(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB: more than max_object
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/chunked" {
			for i := 0; i < len(big); i += 1 << 18 {
				io.WriteString(w, big[i:i+1<<18])
				w.(http.Flusher).Flush()
			}
			return
		}
		n := map[string]int{"/100k": 100_000, "/1m": 1 << 20, "/2m": len(big)}[q.URL.Path]
		w.Header().Set("Content-Length", fmt.Sprint(n))
		io.WriteString(w, big[:n])
	}, 1)
	for path, want := range map[string]struct{ size, calls int }{"/100k": {100_000, 1}, "/1m": {1 << 20, 1}, "/2m": {2 << 20, 3}, "/chunked": {2 << 20, 3}} {
		before := r.calls.Load()
		for range 3 {
			if got := r.pods[0].do(t, "GET", path); got.status != 200 || got.body != big[:want.size] {
				t.Fatalf("%s: status %d, %d bytes, want %d", path, got.status, len(got.body), want.size)
			}
		}
		if n := r.calls.Load() - before; n != int64(want.calls) {
			t.Errorf("%s: %d calls, want %d", path, n, want.calls)
		}
	}
}

func TestUpstreamFailures(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, echo, 0)
	r.up.Timeouts.ResponseHeader = 200 * time.Millisecond
	r.app.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
	p := r.addPod()
	if got := p.do(t, "GET", "/hang"); got.status != 504 || !strings.Contains(got.body, "in time") {
		t.Errorf("hung application: %+v", got)
	}
	r.up.URL = "http://127.0.0.1:1"
	p = r.addPod()
	if got := p.do(t, "GET", "/x"); got.status != 502 || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("no application: %+v", got)
	}
}

// Those who wait for a fill get its bytes as they come, at their own pace, when the
// length is known.
func TestWaitersGetTheBodyAsItComes(t *testing.T) {
	const size = 200_000
	var followed atomic.Bool
	release := make(chan struct{})
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		io.WriteString(w, strings.Repeat("a", size/2))
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, strings.Repeat("b", size/2))
	}, 1)
	p := r.pods[0]
	want := strings.Repeat("a", size/2) + strings.Repeat("b", size/2)
	var halves atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			resp, err := http.Get("http://" + p.addr + "/x")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			half := make([]byte, size/2)
			_, err = io.ReadFull(resp.Body, half) // while the rest is held back
			if halves.Add(1); err != nil {
				t.Errorf("request %d: %v", i, err)
				return
			}
			if strings.Contains(resp.Header.Get("Cache-Status"), "collapsed") {
				followed.Store(true)
			}
			if i == 3 {
				return // leaves in the middle
			}
			rest, err := io.ReadAll(resp.Body)
			if got := string(half) + string(rest); err != nil || got != want {
				t.Errorf("request %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	eventually(t, "all have the first half", func() bool { return halves.Load() == 4 })
	close(release)
	wg.Wait()
	if n := r.calls.Load(); n != 1 || !followed.Load() {
		t.Errorf("%d calls, followed %v", n, followed.Load())
	}
	eventually(t, "stored", func() bool { return strings.Contains(p.do(t, "GET", "/x").cacheStatus(), "; hit") })
	if got := p.do(t, "GET", "/x"); got.body != want {
		t.Errorf("the stored body has %d bytes", len(got.body))
	}
}
