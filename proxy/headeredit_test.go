package proxy_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/units"
)

func sizeOf(n int) units.Size { return units.Size(n) }

func TestRequestHeaders(t *testing.T) {
	var app lastRequest
	edit := func(r *proxy.Rule) {
		r.RequestHeaders = proxy.HeaderEdit{
			Remove: []string{"X-Debug", "Via"},
			Set: map[string]string{
				"Host": "{rule}.internal:81", "X-Plan": "{session.plan}", "X-Evil": "{session.evil}", "X-Nul": "a{session.nul}",
				"X-Pad": "{session.pad}", "X-None": "{session.none}", "X-All": "{rule} {id} {host} {path} {client_ip} {{}}", "X-Forwarded-Proto": "https", "X-Id": "{request_id}",
			},
			Add: map[string]string{"X-Many": "c", "X-Lost": "{session.none}"},
		}
	}
	r := newRig(t, []proxy.Rule{rule("edit", "/edit/{id}", required, uncached, edit), rule("plain", "/**", uncached)}, app.ServeHTTP, 1)
	p := r.pods[0]
	r.setSession("s1", `{"user_id":7,"plan":"gold","evil":"a\r\nX-Injected: 1","nul":"b\u0000c","pad":" admin"}`)
	lines := "X-Session-ID: s1\r\nX-Debug: 1\r\nX_DEBUG: 1\r\nX-Plan: mine\r\nx_plan: mine\r\nX-None: mine\r\nX_Evil: mine\r\nX-Many: a\r\nX-Many: b\r\nX-Lost: kept\r\nX-Forwarded-For: 8.8.8.8, 10.0.0.7\r\n"
	if got := p.raw(t, "GET /edit/a%3ab HTTP/1.1\r\nHost: Shop:80\r\n"+lines+"\r\n"); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	_, host, header := app.last()
	if host != "edit.internal:81" {
		t.Errorf("Host: %q", host)
	}
	for name, want := range map[string][]string{
		"X-Plan": {"gold"}, "X-Evil": nil, "X-Nul": nil, "X-Pad": nil, "X-None": nil, "X-Injected": nil, "X-Debug": nil, "X_debug": nil,
		"X_plan": nil, "X_evil": nil, "Via": nil, "X-Many": {"a", "b", "c"}, "X-Lost": {"kept"}, "X-Forwarded-Proto": {"https"},
		"X-All": {"edit a%3Ab shop:80 /edit/a%3Ab 8.8.8.8 {}"}, "X-Forwarded-Host": {"shop:80"}, "X-User-Id": {"7"},
		"X-Id": {header.Get("X-Request-Id")},
	} {
		if got := header.Values(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	p.raw(t, "GET /other HTTP/1.1\r\nHost: h\r\nX-Debug: 1\r\n\r\n")
	if _, host, header := app.last(); host != "h" || header.Get("X-Debug") != "1" || header.Get("Via") == "" {
		t.Errorf("another rule's request was changed: %s %v", host, header)
	}
}

// TestVaryOnWhatTheRuleSets: a Vary speaks of what the application got. Were it the
// client's field that counts, all plans would share one response.
func TestVaryOnWhatTheRuleSets(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("plans", "/plans", required, ttl(time.Hour), func(r *proxy.Rule) {
		r.Cache.Scope = "public"
		r.RequestHeaders.Set = map[string]string{"X-Plan": "{session.plan}"}
	}), rule("keyed", "/keyed", required, ttl(time.Hour), func(r *proxy.Rule) {
		r.Cache.Scope = "public"
		r.Cache.Key.Headers = []string{"X-Plan"}
		r.RequestHeaders.Set = map[string]string{"X-Plan": "{session.plan}"}
	})}, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/plans" {
			w.Header().Set("Vary", "X-Plan")
		}
		io.WriteString(w, "for "+q.Header.Get("X-Plan"))
	}, 1)
	for id, plan := range map[string]string{"g1": "gold", "g2": "gold", "t1": "tin", "t2": "tin"} {
		r.setSession(id, `{"user_id":"`+id+`","plan":"`+plan+`"}`)
	}
	for _, path := range []string{"/plans", "/keyed"} {
		for _, id := range []string{"g1", "t1", "g2", "t2", "g1"} {
			want := map[byte]string{'g': "for gold", 't': "for tin"}[id[0]]
			got := r.pods[0].do(t, "GET", path, "X-Session-ID", id, "X-Plan", "gold")
			if got.body != want {
				t.Errorf("%s, %s: %q, want %q", path, id, got.body, want)
			}
			if second := id == "g2" || id == "t2"; second && !strings.Contains(got.cacheStatus(), "; hit") {
				t.Errorf("%s, %s: %s, want a hit", path, id, got.cacheStatus())
			}
		}
	}
	if n := r.calls.Load(); n != 4 {
		t.Errorf("%d requests reached the application, want one for each path and plan", n)
	}
}

func TestResponseHeaders(t *testing.T) {
	edit := func(r *proxy.Rule) {
		r.ResponseHeaders = proxy.HeaderEdit{
			Remove: []string{"X-Powered-By"}, Set: map[string]string{"X-Frame-Options": "DENY", "Server": "shop"},
			Add: map[string]string{"Link": "</b>", "Set-Cookie": "seen=1"},
		}
	}
	r := newRig(t, []proxy.Rule{rule("cached", "/cached", ttl(time.Hour), edit), rule("mine", "/mine/**", required, edit), rule("down", "/down", uncached, edit), rule("large", "/large", ttl(time.Hour), edit), rule("all", "/**")},
		func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/down" {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("X-Powered-By", "app")
			w.Header().Set("X-Frame-Options", "ALLOW")
			w.Header().Set("Server", "app")
			w.Header().Set("ETag", `"1"`)
			w.Header().Add("Link", "</a>")
			if q.URL.Path == "/large" {
				io.WriteString(w, strings.Repeat("x", 300_000))
			}
			io.WriteString(w, "ok")
		}, 1)
	p := r.pods[0]
	edited := func(name string, got reply, status int, links ...string) {
		t.Helper()
		h := got.header
		if got.status != status || h.Get("X-Powered-By") != "" || !slices.Equal(h.Values("X-Frame-Options"), []string{"DENY"}) || !slices.Equal(h.Values("Server"), []string{"shop"}) ||
			!slices.Equal(h.Values("Link"), append(links, "</b>")) || !slices.Equal(h.Values("Set-Cookie"), []string{"seen=1"}) {
			t.Errorf("%s: %d %v", name, got.status, h)
		}
	}
	edited("miss", p.do(t, "GET", "/cached"), 200, "</a>")
	edited("hit", p.do(t, "GET", "/cached"), 200, "</a>")
	edited("range", p.do(t, "GET", "/cached", "Range", "bytes=0-0"), 206, "</a>")
	edited("304", p.do(t, "GET", "/cached", "If-None-Match", `"1"`), 304, "</a>")
	edited("401", p.do(t, "GET", "/mine"), 401)
	edited("502", p.do(t, "GET", "/down"), 502)
	edited("refused", p.raw(t, "GET /mine//x HTTP/1.1\r\nHost: h\r\n\r\n"), 400)
	edited("streamed miss", p.do(t, "GET", "/large"), 200, "</a>")
	edited("streamed hit", p.do(t, "GET", "/large"), 200, "</a>")
	if got := p.do(t, "GET", "/other"); got.header.Get("X-Powered-By") != "app" || got.header.Get("Server") != "app" {
		t.Errorf("another rule's response was changed: %v", got.header)
	}
	// What is stored is as the application sent it: a change of the rule shows at once.
	r.rules = []proxy.Rule{rule("cached", "/**", ttl(time.Hour))}
	must(t, p.handler.Apply(r.podSettings()))
	for _, path := range []string{"/cached", "/large"} {
		got := p.do(t, "GET", path)
		if !strings.Contains(got.cacheStatus(), "; hit") || got.header.Get("X-Powered-By") != "app" || got.header.Get("X-Frame-Options") != "ALLOW" ||
			!slices.Equal(got.header.Values("Link"), []string{"</a>"}) || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s as it is stored: %s %v", path, got.cacheStatus(), got.header)
		}
	}
}

// TestRulesAreCompiledOrRefused: a program that makes a handler by itself gets the same
// checks as a file.
func TestRulesAreCompiledOrRefused(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, echo, 1)
	for want, change := range map[string]func(*proxy.Rule){
		"rewrite.strip_prefix":      rewrite("/b", ""),
		"allow[0]":                  allow("dots"),
		"max_body":                  func(r *proxy.Rule) { r.MaxBody = -1 },
		"request_headers.set.X-A":   func(r *proxy.Rule) { r.RequestHeaders.Set = map[string]string{"X-A": "{nobody}"} },
		"response_headers.add.X-A":  func(r *proxy.Rule) { r.ResponseHeaders.Add = map[string]string{"X-A": "a\nb"} },
		"response_headers.remove[0": func(r *proxy.Rule) { r.ResponseHeaders.Remove = []string{"Connection"} },
	} {
		s := r.podSettings()
		s.Rules = []proxy.Rule{rule("a", "/a", change)}
		if err := r.pods[0].handler.Apply(s); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `rules[0] "a"`) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if got := r.pods[0].do(t, "GET", "/x"); got.status != 401 && got.status != 200 {
		t.Errorf("the settings in use changed: %+v", got)
	}
}

// TestUpgradeIsDressed: the 101 is a response like others.
func TestUpgradeIsDressed(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", func(r *proxy.Rule) {
		r.ResponseHeaders = proxy.HeaderEdit{Remove: []string{"X-Powered-By"}, Set: map[string]string{"X-Frame-Options": "DENY"}}
	})}, func(w http.ResponseWriter, q *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\nX-Powered-By: app\r\n\r\n")
			_ = c.Close()
		}
	}, 1)
	got := r.pods[0].raw(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	if h := got.header; got.status != 101 || h.Get("Upgrade") != "x" || h.Get("X-Powered-By") != "" || h.Get("X-Frame-Options") != "DENY" || len(h.Get("X-Request-Id")) != 32 {
		t.Errorf("%+v", got)
	}
}

// TestPostKeepsItsRule: a POST whose response answers later GETs of another rule is
// forwarded and answered as its own rule says.
func TestPostKeepsItsRule(t *testing.T) {
	var app lastRequest
	r := newRig(t, []proxy.Rule{
		rule("post", "/api/x", rewrite("/api", "/post"), func(r *proxy.Rule) {
			r.Match.Methods, r.Cache.Post, r.MaxBody = []string{"POST"}, true, sizeOf(100)
			r.RequestHeaders.Set = map[string]string{"X-Rule": "{rule}"}
			r.ResponseHeaders.Set = map[string]string{"X-Rule": "post"}
		}),
		rule("get", "/api/**", rewrite("/api", "/get"), func(r *proxy.Rule) { r.ResponseHeaders.Set = map[string]string{"X-Rule": "get"} }),
	}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Location", "/api/x")
		w.Header().Set("Cache-Control", "max-age=100")
		app.ServeHTTP(w, q)
	}, 1)
	p := r.pods[0]
	got := p.send(t, "POST", "/api/x", strings.NewReader("body"), "Host", "h")
	target, _, header := app.last()
	if got.header.Get("X-Rule") != "post" || target != "/post/x" || header.Get("X-Rule") != "post" {
		t.Errorf("the POST: %v; the application got %s %v", got.header, target, header)
	}
	if got := p.do(t, "GET", "/api/x", "Host", "h"); !strings.Contains(got.cacheStatus(), "; hit") || got.header.Get("X-Rule") != "get" {
		t.Errorf("the GET: %s %v", got.cacheStatus(), got.header)
	}
	if got := p.send(t, "POST", "/api/x", strings.NewReader(strings.Repeat("x", 101)), "Host", "h"); got.status != 413 {
		t.Errorf("a body beyond the POST's rule: %+v", got)
	}
}

// TestRuleOfAHandlerInThisProcess: an application in this process gets the same request
// as one behind a socket.
func TestRuleOfAHandlerInThisProcess(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/api/{id}", uncached, rewrite("/api", "/v1"), func(r *proxy.Rule) {
		r.MaxBody = sizeOf(10)
		r.RequestHeaders = proxy.HeaderEdit{Remove: []string{"X-Debug"}, Set: map[string]string{"Host": "app", "X-Plan": "{id}"}, Add: map[string]string{"X-Many": "b"}}
		r.ResponseHeaders = proxy.HeaderEdit{Remove: []string{"X-Powered-By"}}
	})}, nil, 0)
	r.next = func(ctx *fasthttp.RequestCtx) {
		h := &ctx.Request.Header
		ctx.Response.Header.Set("X-Powered-By", "app")
		ctx.SetBodyString(strings.Join([]string{
			string(ctx.RequestURI()), string(h.Host()), string(h.Peek("X-Plan")), string(h.Peek("X_plan")), string(h.Peek("X-Debug")), string(h.Peek("X_debug")),
			string(bytes.Join(h.PeekAll("X-Many"), []byte(","))), string(h.Peek("X-Forwarded-Prefix")), string(h.Peek("X-Request-Id")),
		}, "|"))
	}
	r.cfg.TrustedProxies = nil
	p := r.addPod()
	got := p.raw(t, "GET /api/7?a=b HTTP/1.1\r\nHost: h\r\nX-Debug: 1\r\nX_Debug: 1\r\nX-Plan: mine\r\nX_plan: mine\r\nX-Many: a\r\nX-Forwarded-Prefix: /evil\r\nX-Request-Id: mine\r\n\r\n")
	if want := "/v1/7?a=b|app|7||||a,b|/api|" + got.header.Get("X-Request-Id"); got.status != 200 || got.body != want || got.header.Get("X-Powered-By") != "" {
		t.Errorf("%d %q, want %q", got.status, got.body, want)
	}
	if got := p.send(t, "POST", "/api/7", strings.NewReader(strings.Repeat("x", 11))); got.status != 413 {
		t.Errorf("a body beyond max_body: %+v", got)
	}
}
