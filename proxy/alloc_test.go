//go:build !race

// The race detector makes sync.Pool drop at random, so what is counted here is
// counted without it: make test runs both.

package proxy_test

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// hot makes a context with a parsed request, as the server hands it over.
func hot(tb testing.TB, request string) *fasthttp.RequestCtx {
	tb.Helper()
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000}, nil)
	must(tb, ctx.Request.Header.Read(bufio.NewReader(strings.NewReader(request))))
	return ctx
}

func hotRig(tb testing.TB) *pod { return hotRigOf(tb, nil) }

// hotRigOf has settings for sessions in place of the defaults.
func hotRigOf(tb testing.TB, session *sessioncheck.Config) *pod {
	r := newRig(tb, []proxy.Rule{
		rule("public", "/public/{id}", ttl(time.Hour), func(r *proxy.Rule) { r.Cache.Tags = []string{"p:{id}"} }),
		rule("vary", "/vary", ttl(time.Hour)),
		rule("mine", "/mine", required, ttl(time.Hour)),
		rule("edited", "/edited/{id}", ttl(time.Hour), func(r *proxy.Rule) {
			r.Rewrite = proxy.Rewrite{StripPrefix: "/edited", AddPrefix: "/public"}
			r.RequestHeaders = proxy.HeaderEdit{Set: map[string]string{"X-Rule": "{rule} {path}"}}
			r.ResponseHeaders = proxy.HeaderEdit{
				Remove: []string{"X-Powered-By"}, Set: map[string]string{"X-Frame-Options": "DENY", "Content-Type": "text/x"},
				Add: map[string]string{"Link": "</a>", "Set-Cookie": "a=b"},
			}
			r.Allow = []string{"encoded_slash"}
		}),
	}, varied, 0)
	r.sessionConfig = session
	r.addPod()
	r.setSession("s1", `{"user_id": 7, "name": "x"}`)
	p := r.pods[0]
	for range 2 {
		p.do(tb, "GET", "/public/1", "Host", "h")
		p.do(tb, "GET", "/vary", "Host", "h", "Accept-Encoding", "gzip, br")
		p.do(tb, "GET", "/mine", "Host", "h", "X-Session-ID", "s1")
		p.do(tb, "GET", "/edited/1", "Host", "h")
		p.do(tb, "GET", "/edited/a%2Fb", "Host", "h")
	}
	return p
}

const browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0\r\nAccept: text/html,application/json;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, br\r\nAccept-Language: en\r\n"

// hits are requests that memory answers.
func hits() map[string]string {
	return map[string]string{
		"public":      "GET /public/1 HTTP/1.1\r\nHost: h\r\n" + browser + "\r\n",
		"vary":        "GET /vary HTTP/1.1\r\nHost: h\r\n" + browser + "\r\n",
		"session":     "GET /mine HTTP/1.1\r\nHost: h\r\n" + browser + "X-Session-ID: s1\r\n\r\n",
		"conditional": "GET /public/1 HTTP/1.1\r\nHost: h\r\n" + browser + "If-None-Match: \"v1\"\r\n\r\n",
		"range":       "GET /public/1 HTTP/1.1\r\nHost: h\r\n" + browser + "Range: bytes=0-3\r\n\r\n",
		"edited":      "GET /edited/1 HTTP/1.1\r\nHost: h\r\n" + browser + "\r\n",
		"edited 304":  "GET /edited/1 HTTP/1.1\r\nHost: h\r\n" + browser + "If-None-Match: \"v1\"\r\n\r\n",
		"with an id":  "GET /public/1 HTTP/1.1\r\nHost: h\r\n" + browser + "X-Request-Id: abc-1\r\n\r\n",
		"head":        "HEAD /public/1 HTTP/1.1\r\nHost: h\r\n" + browser + "\r\n",
	}
}

func TestHitDoesNotAllocate(t *testing.T) {
	noAllocations(t, hotRig(t))
}

// TestHitDoesNotAllocateWithLifecycle has everything on that can be recorded of users.
func TestHitDoesNotAllocateWithLifecycle(t *testing.T) {
	cfg := sessioncheck.Default()
	cfg.Lifecycle, cfg.ActiveUsers.Enabled = true, true
	noAllocations(t, hotRigOf(t, &cfg))
}

func noAllocations(t *testing.T, p *pod) {
	for name, request := range hits() {
		t.Run(name, func(t *testing.T) {
			ctx := hot(t, request)
			n := testing.AllocsPerRun(500, func() {
				ctx.Response.Reset()
				p.handler.Handle(ctx)
			})
			if !bytes.Contains(ctx.Response.Header.Peek("Cache-Status"), []byte("; hit")) {
				t.Fatalf("not a hit: %s", &ctx.Response)
			}
			if n != 0 {
				t.Errorf("%v allocations for a hit", n)
			}
		})
	}
}

func BenchmarkHit(b *testing.B) {
	p := hotRig(b)
	for name, request := range hits() {
		b.Run(name, func(b *testing.B) {
			ctx := hot(b, request)
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				p.handler.Handle(ctx)
			}
		})
	}
}
