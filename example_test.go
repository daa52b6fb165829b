package pillion_test

import (
	"fmt"
	"net"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion"
	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"

	"context"
	"time"
)

// A fasthttp program mounts pillion around its own handler: the answers are cached
// and the routes protected, with no upstream socket between. Two pillions share
// nothing but Redis, so what one has stored is a hit on the other.
func Example() {
	redis, err := redisproc.Start(redisproc.Options{TCP: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer redis.Stop()

	app := func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("text/plain")
		fmt.Fprintf(ctx, "product %s", ctx.Path()[len("/products/"):])
	}
	cfg := pillion.Default()
	cfg.Listen, cfg.Admin.Listen = pillion.Off, pillion.Off
	cfg.Redis.URL = "redis://" + redis.Addr
	cfg.Redis.Timeout = 5 * time.Second // for slow test machines
	cfg.Rules = []proxy.Rule{{
		Name:    "products",
		Match:   rules.Match{Path: "/products/{id}"},
		Session: sessioncheck.Policy{Mode: sessioncheck.ModeNone},
	}}
	cfg.Rules[0].Cache.TTL = time.Minute

	for range 2 {
		p, err := pillion.New(cfg)
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := p.Start(); err != nil {
			fmt.Println(err)
			return
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Println(err)
			return
		}
		srv := &fasthttp.Server{Handler: p.Handler(app), NoDefaultDate: true}
		go srv.Serve(ln)

		for _, path := range []string{"/products/7", "/profile"} {
			var req fasthttp.Request
			var resp fasthttp.Response
			req.SetRequestURI("http://" + ln.Addr().String() + path)
			if err := fasthttp.Do(&req, &resp); err != nil {
				fmt.Println(err)
				return
			}
			hit := "-"
			if s := resp.Header.Peek("Cache-Status"); len(s) > 0 {
				hit = string(s[:len("pillion; hit")])
			}
			fmt.Println(path, resp.StatusCode(), hit)
		}
		_ = srv.Shutdown()
		if err := p.Shutdown(context.Background()); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// /products/7 200 pillion; fwd
	// /profile 401 -
	// /products/7 200 pillion; hit
	// /profile 401 -
}
