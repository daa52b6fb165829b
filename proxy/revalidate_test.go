package proxy_test

import (
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

// changing is an application with a version, which it can be asked about by ETag.
type changing struct {
	version, asked, down atomic.Int64
	cacheControl         atomic.Value
	extra                atomic.Value // http.Header
}

func newChanging(cacheControl string) *changing {
	c := new(changing)
	c.cacheControl.Store(cacheControl)
	c.extra.Store(http.Header{})
	return c
}

func (c *changing) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if c.down.Load() != 0 {
		w.WriteHeader(int(c.down.Load()))
		io.WriteString(w, "down")
		return
	}
	etag := fmt.Sprintf(`"%d"`, c.version.Load())
	w.Header().Set("ETag", etag)
	w.Header().Set("Cache-Control", c.cacheControl.Load().(string))
	for name, values := range c.extra.Load().(http.Header) {
		w.Header()[name] = values
	}
	if q.Header.Get("If-None-Match") != "" {
		c.asked.Add(1)
	}
	if q.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	fmt.Fprintf(w, "version %d", c.version.Load())
}

// older sends a response that has been under way for a while, so that it goes stale
// when the test wants and not when a clock does.
func older(age int) http.Header { return http.Header{"Age": {fmt.Sprint(age)}} }

func TestStaleIsValidated(t *testing.T) {
	app := newChanging("max-age=100")
	app.extra.Store(older(100)) // stale on arrival
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, app.ServeHTTP, 2)
	a, b := r.pods[0], r.pods[1]
	if got := a.do(t, "GET", "/x", "Host", "h"); got.body != "version 0" || !strings.Contains(got.cacheStatus(), "stored") {
		t.Fatalf("%+v", got)
	}
	extra := older(0)
	extra.Set("X-New", "yes")
	app.extra.Store(extra)
	got := b.do(t, "GET", "/x", "Host", "h") // another pod has the validator from Redis
	if got.status != 200 || got.body != "version 0" || got.header.Get("X-New") != "yes" ||
		got.cacheStatus() != "pillion; fwd=stale; fwd-status=304; stored" {
		t.Fatalf("validated: %+v", got)
	}
	if n := app.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	for _, p := range []*pod{a, b} {
		if got := p.do(t, "GET", "/x", "Host", "h"); !strings.Contains(got.cacheStatus(), "; hit") || got.body != "version 0" || got.header.Get("X-New") != "yes" {
			t.Errorf("after it: %+v", got)
		}
	}
	// A client that wants it validated gets the new version, and so does everybody.
	app.version.Add(1)
	if got := a.do(t, "GET", "/x", "Host", "h", "Cache-Control", "no-cache"); got.body != "version 1" || !strings.Contains(got.cacheStatus(), "fwd=request") {
		t.Errorf("no-cache: %+v", got)
	}
	eventually(t, "B has it too", func() bool { return b.do(t, "GET", "/x", "Host", "h").body == "version 1" })
	if got := a.do(t, "GET", "/x", "Host", "h", "If-None-Match", `"1"`); got.status != 304 {
		t.Errorf("a client that has it: %+v", got)
	}
}

func TestNoCacheIsValidatedEachTime(t *testing.T) {
	app := newChanging("no-cache")
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, app.ServeHTTP, 1)
	for i := range 3 {
		if got := r.pods[0].do(t, "GET", "/x"); got.body != "version 0" || strings.Contains(got.cacheStatus(), "; hit") {
			t.Errorf("%+v", got)
		}
		if n := app.asked.Load(); n != int64(i) {
			t.Errorf("validated %d times after %d requests", n, i+1)
		}
	}
}

func TestStaleWhileRevalidate(t *testing.T) {
	app := newChanging("max-age=600, stale-while-revalidate=6000") // what is fresh stays so while a busy machine looks
	app.extra.Store(older(600))
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, app.ServeHTTP, 2)
	p := r.pods[0]
	p.do(t, "GET", "/x", "Host", "h")
	app.version.Add(1)
	app.extra.Store(older(0))
	got := p.do(t, "GET", "/x", "Host", "h")
	if got.body != "version 0" || !strings.Contains(got.cacheStatus(), "; hit; ttl=0") && !strings.Contains(got.cacheStatus(), "; hit; ttl=-") {
		t.Fatalf("served at once, stale: %+v", got)
	}
	for _, p := range r.pods {
		eventually(t, "refreshed in the background", func() bool { return p.do(t, "GET", "/x", "Host", "h").body == "version 1" })
	}
	if n := r.calls.Load(); n != 2 {
		t.Errorf("%d calls: want the fill and one refresh", n)
	}
}

func TestStaleIfError(t *testing.T) {
	app := newChanging("max-age=10, stale-if-error=100")
	app.extra.Store(older(10))
	r := newRig(t, []proxy.Rule{
		rule("ours", "/ours", func(r *proxy.Rule) { r.Cache.StaleIfError = time.Minute }), rule("all", "/**"),
	}, app.ServeHTTP, 1)
	p := r.pods[0]
	for _, path := range []string{"/x", "/ours"} {
		p.do(t, "GET", path)
		app.down.Store(503)
		got := p.do(t, "GET", path)
		if got.status != 200 || got.body != "version 0" || !strings.Contains(got.cacheStatus(), "fwd=stale; fwd-status=503") || !strings.Contains(got.cacheStatus(), "stale-if-error") {
			t.Errorf("%s: %+v", path, got)
		}
		app.down.Store(404) // an answer, not a failure
		if got := p.do(t, "GET", path); got.status != 404 {
			t.Errorf("%s: %+v", path, got)
		}
		app.down.Store(0)
	}
	app.cacheControl.Store("max-age=10, stale-if-error=100, must-revalidate")
	p.do(t, "GET", "/strict")
	app.down.Store(500)
	if got := p.do(t, "GET", "/strict"); got.status != 500 {
		t.Errorf("must-revalidate: %+v", got)
	}
}

func TestApplicationGone(t *testing.T) {
	app := newChanging("max-age=10, stale-if-error=100")
	app.extra.Store(older(10))
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, app.ServeHTTP, 1)
	p := r.pods[0]
	p.do(t, "GET", "/x")
	r.app.Close()
	if got := p.do(t, "GET", "/x"); got.status != 200 || got.body != "version 0" {
		t.Errorf("%+v", got)
	}
	if got := p.do(t, "GET", "/new"); got.status != 502 {
		t.Errorf("%+v", got)
	}
}

func TestHeadUpdatesWhatIsStored(t *testing.T) {
	app := newChanging("max-age=100")
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, app.ServeHTTP, 1)
	p := r.pods[0]
	p.do(t, "GET", "/x")
	app.version.Add(1)
	p.do(t, "HEAD", "/x", "Cache-Control", "no-cache")
	if got := p.do(t, "GET", "/x"); got.body != "version 1" || !strings.Contains(got.cacheStatus(), "fwd=stale") {
		t.Errorf("a HEAD that tells of another version: %+v", got)
	}
}

func TestRange(t *testing.T) {
	body := strings.Repeat("0123456789", 20)
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Type", "text/plain")
		if rg := q.Header.Get("Range"); rg != "" {
			w.Header().Set("Content-Range", "bytes 0-1/200")
			w.WriteHeader(206)
			io.WriteString(w, "01")
			return
		}
		io.WriteString(w, body)
	}, 1)
	p := r.pods[0]
	// A 206 of the application answers the same Range again, and is never served as
	// the whole, nor for another Range.
	for _, hit := range []bool{false, true} {
		if got := p.do(t, "GET", "/x", "Range", "bytes=0-1"); got.status != 206 || got.body != "01" || got.header.Get("Content-Range") != "bytes 0-1/200" ||
			strings.Contains(got.cacheStatus(), "; hit") != hit {
			t.Errorf("hit %v: %+v", hit, got)
		}
	}
	if got := p.do(t, "GET", "/x", "Range", "bytes=0-0"); strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("another range: %+v", got)
	}
	if _, err := p.handler.PurgeURL(context.Background(), p.addr, "/x"); err != nil {
		t.Error(err)
	}
	if got := p.do(t, "GET", "/x", "Range", "bytes=0-1"); strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("after a purge: %+v", got)
	}
	if got := p.do(t, "GET", "/x"); got.status != 200 || got.body != body {
		t.Errorf("%+v", got)
	}
	for _, tc := range []struct {
		header  []string
		status  int
		body    string
		content string
	}{
		{[]string{"Range", "bytes=0-3"}, 206, "0123", "bytes 0-3/200"},
		{[]string{"Range", "bytes=-2"}, 206, "89", "bytes 198-199/200"},
		{[]string{"Range", "bytes=195-"}, 206, "56789", "bytes 195-199/200"},
		{[]string{"Range", "bytes=500-"}, 416, "", "bytes */200"},
		{[]string{"Range", "lines=1-2"}, 200, body, ""},
		{[]string{"Range", "bytes=0-3", "If-Range", `"v1"`}, 206, "0123", "bytes 0-3/200"},
		{[]string{"Range", "bytes=0-3", "If-Range", `"v0"`}, 200, body, ""},
		{[]string{"Range", "bytes=0-3", "If-None-Match", `"v1"`}, 304, "", ""},
	} {
		got := p.do(t, "GET", "/x", tc.header...)
		if got.status != tc.status || got.header.Get("Content-Range") != tc.content || !strings.Contains(got.cacheStatus(), "; hit") && tc.status != 416 {
			t.Errorf("%v: %+v", tc.header, got)
		}
		if tc.status != 416 && got.body != tc.body {
			t.Errorf("%v: %q", tc.header, got.body)
		}
	}
	got := p.do(t, "GET", "/x", "Range", "bytes=0-1,150-151")
	kind, params, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	if err != nil || got.status != 206 || kind != "multipart/byteranges" {
		t.Fatalf("two ranges: %+v", got)
	}
	parts := multipart.NewReader(strings.NewReader(got.body), params["boundary"])
	for i, want := range []string{"01", "01"} {
		part, err := parts.NextPart()
		must(t, err)
		b, err := io.ReadAll(part)
		must(t, err)
		if string(b) != want || part.Header.Get("Content-Range") != []string{"bytes 0-1/200", "bytes 150-151/200"}[i] || part.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("part %d: %v %q", i, part.Header, b)
		}
	}
	if n := r.calls.Load(); n != 4 {
		t.Errorf("%d calls", n)
	}
}

func TestTargetedField(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("CDN-Cache-Control", q.URL.Query().Get("cdn"))
		io.WriteString(w, "ok")
	}, 1)
	for cdn, hit := range map[string]bool{"max-age=60": true, "max-age=60,+private": false, "max-age=%2260%22": false, "no-store": false} {
		r.pods[0].do(t, "GET", "/x?cdn="+cdn)
		if got := r.pods[0].do(t, "GET", "/x?cdn="+cdn); strings.Contains(got.cacheStatus(), "; hit") != hit {
			t.Errorf("%s: %s", cdn, got.cacheStatus())
		}
	}
}

func TestInterimResponsesArePassedOn(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		io.WriteString(w, "ok")
	}, 1)
	read := func() string {
		c := r.pods[0]
		got := c.raw(t, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		return fmt.Sprint(got.status, got.header.Get("Link"))
	}
	if got := read(); got != "103</a.css>; rel=preload" {
		t.Errorf("the first response on the wire: %s", got)
	}
	if got := read(); got != "200" {
		t.Errorf("from the cache: %s", got)
	}
}
