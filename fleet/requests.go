package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion"
	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// slowFetch is how long the application takes for a slow page.
const slowFetch = 500 * time.Millisecond

// quiet is for how long no command but PING has run when a request counts as over: some
// of them are sent after its answer.
const quiet = 100 * time.Millisecond

// requests counts what one request costs Redis, through two whole pillions with the HTTP
// side, A and B.
func requests(ctx context.Context, _ options) (*table, error) {
	t := &table{title: "requests: what one request costs Redis, by two whole pillions, A and B", columns: []column{{"commands", 0}}}
	r, err := start()
	if err != nil {
		return nil, err
	}
	defer r.close()
	two, err := startSites(r, 2)
	if err != nil {
		return nil, err
	}
	for _, c := range requestCases() {
		if err := c.run(ctx, r, two, t); err != nil {
			return nil, errors.Join(err, two.stop())
		}
	}
	return t, two.stop()
}

// requestCase is one thing that is done, to one of the pillions or by the application.
type requestCase struct {
	name string
	site int
	path string
	both bool     // from both pillions at once
	do   []string // a command of the application, in place of a request
	what func(context.Context, *pillion.Pillion) error
}

func requestCases() []requestCase {
	return []requestCase{
		{name: "page in no cache, from A: fetched and stored", path: "/page/1"},
		{name: "the same from A: in Redis, since nobody keeps his own write", path: "/page/1"},
		{name: "the same from A: in memory", path: "/page/1"},
		{name: "the same from B: in Redis", site: 1, path: "/page/1"},
		{name: "the same from B: in memory", site: 1, path: "/page/1"},
		{name: "page with a tag, in no cache, from A", path: "/product/1"},
		{name: "the same from B: in Redis", site: 1, path: "/product/1"},
		{name: "purge of the tag, by the application", do: []string{"SET", cache.TagName(defaults().Prefix, []byte("product:1")), "1"}},
		{name: "the page from A after the purge: fetched and stored", path: "/product/1"},
		{name: "the page from B after that: in Redis", site: 1, path: "/product/1"},
		{name: "purge of a page, by pillion A", what: purgePage},
		{name: fmt.Sprintf("page that the application takes %v for, from A and B at once", slowFetch), path: "/slow/1", both: true},
		{name: "response that may not be stored, on a rule with cache", path: "/never/1"},
		{name: "the same once more", path: "/never/1"},
		{name: "request on a rule with cache: off", path: "/off/1"},
		{name: "protected, session not in memory, from A", path: "/private/1"},
		{name: "protected, session in memory, from A", path: "/private/1"},
		{name: "protected, unknown session id, from A", path: "/stranger/1"},
		{name: "one scrape of /metrics with a list, a delay and a stream", what: scrape},
	}
}

func (c requestCase) run(ctx context.Context, r *rig, two *sites, t *table) error {
	s, err := r.during(ctx, func() error {
		switch {
		case c.do != nil:
			if err := r.do(ctx, c.do...).Error(); err != nil {
				return err
			}
		case c.what != nil:
			if err := c.what(ctx, two.pillions[c.site]); err != nil {
				return err
			}
		case c.both:
			if err := times(len(two.pillions), func(i int) error { return two.get(i, c.path) }); err != nil {
				return err
			}
		default:
			if err := two.get(c.site, c.path); err != nil {
				return err
			}
		}
		return r.calm(ctx)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	what := s.list()
	if what == "" {
		what = "none"
	}
	t.rows = append(t.rows, row{label: c.name, text: what, numbers: []float64{s.work()}})
	return nil
}

func purgePage(ctx context.Context, p *pillion.Pillion) error {
	_, err := p.PurgeURL(ctx, "fleet.test", "/page/1")
	return err
}

func scrape(_ context.Context, p *pillion.Pillion) error {
	_, err := p.Metrics().Gather()
	return err
}

// calm waits until nothing but PING and INFO has run for a while.
func (r *rig) calm(ctx context.Context) error {
	var last float64
	since := time.Now()
	return await(ctx, "redis has nothing to do", func() (bool, error) {
		s, err := r.info(ctx)
		if n := s.number("total_commands_processed") - s.calls["ping"] - s.calls["info"]; n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) >= quiet, err
	})
}

// sites are whole pillions around an application in this process.
type sites struct {
	pillions []*pillion.Pillion
	servers  []*fasthttp.Server
	addrs    []string
	all      sync.WaitGroup
}

func startSites(r *rig, n int) (*sites, error) {
	s := new(sites)
	if err := r.do(context.Background(), "SET", "session:"+sessionID(0, 0), `{"user_id": 1}`, "EX", fmt.Sprint(7*24*3600)).Error(); err != nil {
		return nil, err
	}
	for range n {
		if err := s.start("redis://" + r.server.Addr); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	// So that Redis has the scripts: each is sent in full once.
	if err := errors.Join(s.get(0, "/page/0"), s.get(0, "/never/0")); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, r.calm(context.Background())
}

func (s *sites) start(redis string) error {
	p, err := pillion.New(siteConfig(redis))
	if err != nil {
		return err
	}
	s.pillions = append(s.pillions, p)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &fasthttp.Server{Handler: p.Handler(application), NoDefaultDate: true}
	s.servers, s.addrs = append(s.servers, srv), append(s.addrs, ln.Addr().String())
	s.all.Go(func() { _ = srv.Serve(ln) })
	return nil
}

func application(ctx *fasthttp.RequestCtx) {
	switch path := string(ctx.Path()); {
	case strings.HasPrefix(path, "/never/"):
		ctx.Response.Header.Set("Cache-Control", "no-store")
	case strings.HasPrefix(path, "/slow/"):
		time.Sleep(slowFetch)
	}
	ctx.SetContentType("text/plain")
	fmt.Fprint(ctx, "hello")
}

// siteConfig has queues for the scrape only: they are not run, since Start is not called.
func siteConfig(redis string) pillion.Config {
	cfg := pillion.Default()
	cfg.Listen, cfg.Admin.Listen, cfg.Redis.URL = pillion.Off, pillion.Off, redis
	cfg.Redis.Timeout = patience / 10
	cfg.Redis.MaxStaleness = 2 * patience / 10
	rule := func(name, path string, mode sessioncheck.Mode) proxy.Rule {
		r := proxy.Rule{Name: name, Match: rules.Match{Path: path}, Session: sessioncheck.Policy{Mode: mode}}
		r.Cache.TTL = time.Hour
		return r
	}
	cfg.Rules = []proxy.Rule{
		rule("page", "/page/{id}", sessioncheck.ModeNone), rule("product", "/product/{id}", sessioncheck.ModeNone),
		rule("never", "/never/{id}", sessioncheck.ModeNone), rule("off", "/off/{id}", sessioncheck.ModeNone),
		rule("slow", "/slow/{id}", sessioncheck.ModeNone),
		rule("private", "/**", sessioncheck.ModeRequired),
	}
	cfg.Rules[1].Cache.Tags = []string{"product:{id}"}
	cfg.Rules[3].Cache = cache.Policy{Mode: cache.ModeOff}
	cfg.Rules[5].Cache = cache.Policy{Mode: cache.ModeOff}
	for _, kind := range kinds() {
		q := queue(kind, "http://127.0.0.1:1/")
		q.Name = kind
		if q.List = ""; kind == kindList {
			q.List = "list"
		}
		if kind == kindDelay {
			q.Delay = "delay"
		}
		if kind == kindStream {
			q.Stream = "stream"
		}
		cfg.Queues = append(cfg.Queues, q)
	}
	return cfg
}

func (s *sites) get(site int, path string) error {
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://" + s.addrs[site] + path)
	req.Header.SetHost("fleet.test")
	req.UseHostHeader = true
	switch path {
	case "/private/1":
		req.Header.Set("X-Session-ID", sessionID(0, 0))
	case "/stranger/1":
		req.Header.Set("X-Session-ID", sessionID(1, 1))
	}
	client := fasthttp.Client{}
	defer client.CloseIdleConnections()
	if err := client.DoTimeout(&req, &resp, patience); err != nil {
		return err
	}
	want := fasthttp.StatusOK
	if path == "/stranger/1" {
		want = fasthttp.StatusUnauthorized
	}
	if resp.StatusCode() != want {
		return fmt.Errorf("%s: status %d, want %d", path, resp.StatusCode(), want)
	}
	return nil
}

func (s *sites) stop() error {
	var err error
	for _, srv := range s.servers {
		err = errors.Join(err, srv.Shutdown())
	}
	s.all.Wait()
	for _, p := range s.pillions {
		err = errors.Join(err, p.Shutdown(context.Background()))
	}
	return err
}
