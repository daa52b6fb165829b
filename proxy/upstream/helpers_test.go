package upstream

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

// fasthttp, in the role of the application, leaves two goroutines to end in their own time.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// patience bounds what must happen in the end; no test depends on its length.
const patience = time.Minute

func testConfig(url string) Config {
	cfg := Default()
	cfg.URL = url
	cfg.Timeouts = Timeouts{Connect: patience, ResponseHeader: patience, Idle: patience}
	cfg.MaxConnections = 4
	return cfg
}

func newClient(tb testing.TB, cfg Config, opts ...Option) *Client {
	tb.Helper()
	c, err := New(cfg, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func reqHead(method, target string, fields ...string) []byte {
	b := []byte(method + " " + target + " HTTP/1.1\r\nHost: app\r\n")
	for _, f := range fields {
		b = append(b, f+"\r\n"...)
	}
	return append(b, "\r\n"...)
}

// answer is what a request brought.
type answer struct {
	status   int
	body     string
	err      error // of Do
	bodyErr  error // of reading the body
	complete bool
	size     int64
}

func do(c *Client, r *Request) (a answer) {
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), r, &h)
	if err != nil {
		return answer{err: err}
	}
	b, err := io.ReadAll(body)
	a = answer{status: h.StatusCode(), body: string(b), bodyErr: err, size: body.Size()}
	_ = body.Close()
	a.complete = body.Complete()
	return a
}

func get(c *Client, target string) answer {
	return do(c, &Request{Head: reqHead("GET", target), Replayable: true})
}

// wantOwn checks that a request gets the answer of apptest.Echo to itself.
func wantOwn(tb testing.TB, c *Client, target string) {
	tb.Helper()
	a := get(c, target)
	if a.err != nil || a.bodyErr != nil || a.status != 200 || a.body != target || !a.complete {
		tb.Fatalf("GET %s after the awkward response: %+v", target, a)
	}
}

// wantSound checks that the pool counts what it holds. No exchange may be running.
func wantSound(tb testing.TB, c *Client) {
	tb.Helper()
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if p := c.pool; len(p.all) != p.slots || len(p.idle) != p.slots || p.waiters.Len() != 0 {
		tb.Errorf("the pool holds %d connections, %d idle, in %d slots, %d waiting", len(p.all), len(p.idle), p.slots, p.waiters.Len())
	}
}

// until polls for a condition.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	tb.Fatalf("not within %v: %s", patience, what)
}
