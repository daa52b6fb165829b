package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

func publicRule(path, upstream string) proxy.Rule {
	return proxy.Rule{
		Name: path, Match: rules.Match{Path: path}, Session: sessioncheck.Policy{Mode: sessioncheck.ModeNone}, Upstream: upstream,
	}
}

func named(url string) upstream.Config {
	cfg := upstream.Default()
	cfg.URL = url
	return cfg
}

// TestRulesChooseTheApplication: misses, hits, methods, upgrades and failures.
func TestRulesChooseTheApplication(t *testing.T) {
	reports := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "reports %s %s", q.Method, q.URL.Path)
	}))
	defer reports.Close()
	tunnel := apptest.Start(t, apptest.Each(apptest.ExpectHead(), apptest.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\ntunnel"), apptest.Close()))
	r := newRig(t, []proxy.Rule{publicRule("/reports/**", "reports"), publicRule("/ws", "tunnel"), publicRule("/down", "down"), publicRule("/**", "")},
		func(w http.ResponseWriter, q *http.Request) { fmt.Fprintf(w, "main %s %s", q.Method, q.URL.Path) }, 0)
	r.upstreams = map[string]upstream.Config{"reports": named(reports.URL), "tunnel": named(tunnel.URL()), "down": named("unix:///nonexistent/socket")}
	p := r.addPod()
	for _, tt := range []struct{ method, path, body, status string }{
		{"GET", "/reports/a", "reports GET /reports/a", "fwd=uri-miss"}, {"GET", "/reports/a", "reports GET /reports/a", "hit"},
		{"POST", "/reports/a", "reports POST /reports/a", "fwd=method"}, {"GET", "/other", "main GET /other", "fwd=uri-miss"},
		{"DELETE", "/other", "main DELETE /other", "fwd=method"},
	} {
		if got := p.do(t, tt.method, tt.path); got.body != tt.body || !strings.Contains(got.cacheStatus(), tt.status) {
			t.Errorf("%s %s: %+v", tt.method, tt.path, got)
		}
	}
	if got := p.do(t, "GET", "/down"); got.status != 502 {
		t.Errorf("%+v", got)
	}
	nc, err := net.Dial("tcp", p.addr)
	must(t, err)
	defer nc.Close()
	fmt.Fprint(nc, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	must(t, nc.SetReadDeadline(time.Now().Add(time.Minute)))
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	must(t, err)
	if first, err := br.Peek(len("tunnel")); resp.StatusCode != 101 || string(first) != "tunnel" || err != nil {
		t.Errorf("%d, %q, %v", resp.StatusCode, first, err)
	}
	failed := p.handler.Stats().Failed
	if n := failed[proxy.Failure{Upstream: "down", Status: 502}]; n != 1 || len(failed) != 1 {
		t.Errorf("failures %v", failed)
	}
}

// TestUnknownUpstream: settings that name an application which is not there are
// refused, and the old ones stay.
func TestUnknownUpstream(t *testing.T) {
	r := newRig(t, []proxy.Rule{publicRule("/**", "")}, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "main") }, 1)
	err := r.pods[0].handler.Apply(proxy.Settings{Rules: []proxy.Rule{publicRule("/**", "reports")}})
	if err == nil || !strings.Contains(err.Error(), `"reports" is not in upstreams`) {
		t.Error(err)
	}
	if got := r.pods[0].do(t, "GET", "/"); got.body != "main" {
		t.Errorf("%+v", got)
	}
}

// TestOpenBreaker: requests get 503 with the time that is left, or what may be served
// stale, and the application is left alone.
func TestOpenBreaker(t *testing.T) {
	app := newChanging("max-age=100, stale-if-error=1000")
	app.extra.Store(older(100)) // stale on arrival
	rule := publicRule("/**", "")
	rule.Cache = cache.Policy{}
	r := newRig(t, []proxy.Rule{rule}, app.ServeHTTP, 0)
	r.up.Breaker = upstream.Breaker{Failures: 2, Open: time.Hour}
	p := r.addPod()
	if got := p.do(t, "GET", "/stored"); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	r.app.CloseClientConnections()
	must(t, r.app.Listener.Close())
	for range 2 {
		if got := p.do(t, "GET", "/other"); got.status != 502 {
			t.Fatalf("%+v", got)
		}
	}
	calls := r.calls.Load()
	got := p.do(t, "GET", "/other")
	if got.status != 503 || got.header.Get("Retry-After") != "3600" || got.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(got.body, "not available") {
		t.Errorf("%+v", got)
	}
	if got := p.do(t, "GET", "/stored"); got.status != 200 || !strings.Contains(got.cacheStatus(), "stale-if-error") {
		t.Errorf("%+v", got)
	}
	if r.calls.Load() != calls {
		t.Error("the application was asked")
	}
	if n := p.handler.Stats().Failed[proxy.Failure{Upstream: proxy.MainUpstream, Status: 503}]; n != 2 {
		t.Errorf("%d failures with 503", n)
	}
}
