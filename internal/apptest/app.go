package apptest

import (
	"net"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"
)

// App is an ordinary application that counts the requests that reach it.
type App struct {
	url string

	mu    sync.Mutex
	calls map[string]int
	total int
}

// StartApp serves the handler on a loopback port until the test ends. A nil
// handler answers 200 with the path.
func StartApp(tb testing.TB, handler fasthttp.RequestHandler) *App {
	tb.Helper()
	if handler == nil {
		handler = func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.Path()) }
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	app := &App{url: "http://" + ln.Addr().String(), calls: make(map[string]int)}
	srv := &fasthttp.Server{
		Handler:            func(ctx *fasthttp.RequestCtx) { app.count(ctx); handler(ctx) },
		CloseOnShutdown:    true,
		StreamRequestBody:  true,
		MaxRequestBodySize: 1 << 30,
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	tb.Cleanup(func() {
		if err := srv.Shutdown(); err != nil {
			tb.Error(err)
		}
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return app
}

func (a *App) count(ctx *fasthttp.RequestCtx) {
	key := string(ctx.Method()) + " " + string(ctx.Path())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls[key]++
	a.total++
}

// URL is http://host:port.
func (a *App) URL() string { return a.url }

// Calls is how often the method and path were requested.
func (a *App) Calls(method, path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[method+" "+path]
}

// Total is the number of requests.
func (a *App) Total() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}
