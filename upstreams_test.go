package pillion

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/internal/tlstest"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// TestSeveralUpstreams: a second application, over TLS, with metrics of its own. A
// reload sends a path to it.
func TestSeveralUpstreams(t *testing.T) {
	authority := tlstest.New(t)
	answer := func(body string) func(int) []apptest.Step {
		return apptest.Each(apptest.Loop(apptest.Expect(), apptest.Sendf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: no-store\r\n\r\n%s", len(body), body)))
	}
	main := apptest.Start(t, answer("main"))
	reports := apptest.StartTLS(t, authority.Server(t, "reports.internal"), answer("reports"))
	entry := upstream.DefaultNamed()
	entry.Name, entry.URL = "reports", reports.URL()
	entry.TLS.CA, entry.TLS.ServerName = authority.File, "reports.internal"
	entry.Health.Path = "/healthz"
	rule := func(path, upstream string) proxy.Rule {
		return proxy.Rule{Match: rules.Match{Path: path}, Session: sessioncheck.Policy{Mode: sessioncheck.ModeNone}, Upstream: upstream}
	}
	cfg := Default()
	cfg.Redis.URL = "redis://" + redistest.Start(t).Addr
	cfg.Admin.Listen, cfg.Upstream.URL, cfg.Upstreams = Off, main.URL(), []upstream.Named{entry}
	cfg.Rules = []proxy.Rule{rule("/reports", "reports"), rule("/**", "")}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	transport := &http.Transport{}
	client := &http.Client{Transport: transport}
	want := func(path, body string) {
		t.Helper()
		resp, err := client.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(got) != body {
			t.Errorf("%s: %d %q, want %q", path, resp.StatusCode, got, body)
		}
	}
	want("/reports", "reports")
	want("/moves", "main")
	cfg.Rules = []proxy.Rule{rule("/reports", "reports"), rule("/moves", "reports"), rule("/**", "")}
	if err := p.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	want("/moves", "reports")

	bad := cfg
	bad.Rules = []proxy.Rule{rule("/**", "billing")}
	if err := p.Reload(bad); err == nil || !strings.Contains(err.Error(), `rules[0].upstream: "billing" is not in upstreams`) {
		t.Error(err)
	}
	wantMetrics(t, p, map[string]float64{
		"pillion_upstream_up default": 1, "pillion_upstream_up reports": 1,
		"pillion_upstream_dials_total default": 1, "pillion_upstream_dial_errors_total reports": 0,
	})
	transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	for name, c := range map[string]*upstream.Client{"main": p.upstream, "reports": p.upstreams["reports"]} {
		if s := c.Stats(); s.Open != 0 {
			t.Errorf("%s has %d connections after the shutdown", name, s.Open)
		}
	}
}

// wantMetrics checks values by metric and upstream.
func wantMetrics(t *testing.T, p *Pillion, want map[string]float64) {
	t.Helper()
	families, err := p.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "upstream" {
					got[f.GetName()+" "+l.GetValue()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	for key, v := range want {
		if has, ok := got[key]; !ok || has != v {
			t.Errorf("%s is %v (%v), want %v", key, has, ok, v)
		}
	}
}

// TestUpstreamMistakesNameTheirEntry: also those that only the client finds.
func TestUpstreamMistakesNameTheirEntry(t *testing.T) {
	entry := upstream.DefaultNamed()
	entry.Name, entry.URL, entry.Health.Path = "reports", "http://127.0.0.1:1", "no slash"
	cfg := Default()
	cfg.Upstreams = []upstream.Named{entry}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "upstreams[0].health.path") {
		t.Error(err)
	}
	if _, err := upstream.New(entry.Config, upstream.WithSetting("upstreams[0]")); err == nil || !strings.Contains(err.Error(), "upstreams[0].health.path") {
		t.Error(err)
	}
}

// TestWebhookOfAProgram: a program says where a queue's path is, with TLS settings of its
// own. The configuration stays as the program wrote it, so that it can be reloaded.
func TestWebhookOfAProgram(t *testing.T) {
	authority := tlstest.New(t)
	got := make(chan string, 1)
	app := apptest.StartTLS(t, authority.Server(t, "app.internal"), apptest.Each(apptest.Route(func(r *http.Request) []apptest.Step {
		got <- r.Host + r.RequestURI
		return []apptest.Step{apptest.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), apptest.Drain()}
	})))
	srv := redistest.Start(t)
	queue := func(name string) queueagent.Config {
		q := queueagent.Default()
		q.Name, q.List, q.Webhook.URL = name, name, "/"+name
		return q
	}
	cfg := Default()
	cfg.Redis.URL, cfg.Admin.Listen = "redis://"+srv.Addr, Off
	cfg.Queues = []queueagent.Config{queue("own"), queue("main")}
	cfg.Queues[0].Webhook.App = webhook.App{
		Address: app.Addr(), Host: "app.internal", TLS: &tls.Config{RootCAs: authority.Pool, ServerName: "app.internal"},
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Shutdown(context.Background()) }()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	redistest.Do(t, redistest.Client(t, srv), "RPUSH", "own", "{}")
	if at := <-got; at != "app.internal/own" {
		t.Errorf("delivered to %s", at)
	}
	if at := cfg.Queues[1].Webhook.App; at != (webhook.App{}) {
		t.Errorf("the configuration was changed: %+v", at)
	}
	if err := p.Reload(cfg); err != nil {
		t.Error(err)
	}
	if text, err := cfg.Redacted().YAML(); err != nil || strings.Contains(string(text), "app.internal") {
		t.Errorf("%v: %s", err, text)
	}
}
