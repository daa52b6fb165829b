package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

// TestLateBytes lets something arrive on a connection that lies in the pool.
func TestLateBytes(t *testing.T) {
	tests := []struct {
		name        string
		first       string
		head        bool
		late        apptest.Step
		unsolicited uint64
	}{
		{"response", ok5, false, apptest.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), 1},
		{"one byte", ok5, false, apptest.Send("\n"), 1},
		{"408 and close", ok5, false, apptest.Send("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"), 1},
		{"body of a 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, apptest.Send("hello"), 1},
		{"body of a HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, apptest.Send("hello"), 1},
		{"close", ok5, false, apptest.CloseWrite(), 0},
		{"reset", ok5, false, apptest.Reset(), 0},
	}
	for _, tt := range tests {
		for _, dial := range []string{"socket", "by deadline"} {
			t.Run(tt.name+", "+dial, func(t *testing.T) {
				now, arrived := make(chan struct{}), make(chan struct{})
				late := func(c *apptest.Conn) error { defer close(arrived); return tt.late(c) }
				raw := apptest.Start(t, apptest.InTurn(
					[]apptest.Step{apptest.Expect(), apptest.Send(tt.first), apptest.Wait(now), late, apptest.Drain()},
					[]apptest.Step{apptest.Echo()}))
				var opts []Option
				if dial == "by deadline" {
					opts = append(opts, WithDial(dialOpaque))
				}
				c := newClient(t, testConfig(raw.URL()), opts...)
				r := &Request{Head: reqHead("GET", "/first"), HeadMethod: tt.head, Replayable: true}
				if a := do(c, r); a.err != nil || !a.complete || c.Stats().Idle != 1 {
					t.Fatalf("first: %+v, %+v", a, c.Stats())
				}
				close(now)
				<-arrived
				wantOwn(t, c, "/second")
				if s := c.Stats(); s.Stale != 1 || s.Unsolicited != tt.unsolicited || s.Retries != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		}
	}
}

// dialOpaque hides the socket, as a TLS or an in-memory connection does.
func dialOpaque(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{nc}, nil
}

// TestRetry sends a request on a pooled connection that dies after having been
// looked at: the application closes on seeing the request.
func TestRetry(t *testing.T) {
	tests := []struct {
		name    string
		r       Request
		then    []apptest.Step
		retried bool
		err     error
	}{
		{"GET, close", Request{Replayable: true}, []apptest.Step{apptest.Close()}, true, nil},
		{"GET, reset", Request{Replayable: true}, []apptest.Step{apptest.Reset()}, true, nil},
		{"POST", Request{}, []apptest.Step{apptest.Close()}, false, ErrReset},
		{"small PUT", Request{Replayable: true, BodySize: 5}, []apptest.Step{apptest.Close()}, true, nil},
		{"large PUT", Request{Replayable: true, BodySize: 1 << 20}, []apptest.Step{apptest.Close()}, false, ErrReset},
		{"one byte came", Request{Replayable: true}, []apptest.Step{apptest.Send("H"), apptest.Close()}, false, ErrReset},
		{"an interim came", Request{Replayable: true}, []apptest.Step{apptest.Send("HTTP/1.1 100 Continue\r\n\r\n"), apptest.Close()}, false, ErrReset},
		{"timeout", Request{Replayable: true, HeaderTimeout: 50 * time.Millisecond}, []apptest.Step{apptest.Drain()}, false, ErrTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steps := append([]apptest.Step{apptest.Expect(), apptest.Send(ok5), apptest.ExpectHead()}, tt.then...)
			raw := apptest.Start(t, apptest.InTurn(steps, []apptest.Step{apptest.Echo()}))
			c := newClient(t, testConfig(raw.URL()))
			if a := get(c, "/first"); a.err != nil {
				t.Fatal(a.err)
			}
			r := &tt.r
			r.Head = reqHead("GET", "/second", fmt.Sprintf("Content-Length: %d", r.BodySize))
			if r.BodySize > 0 {
				r.Body = strings.NewReader(strings.Repeat("b", int(r.BodySize)))
			}
			a := do(c, r)
			if !errors.Is(a.err, tt.err) || (tt.err == nil && a.body != "/second") {
				t.Fatalf("%+v, want error %v", a, tt.err)
			}
			if got := c.Stats().Retries == 1; got != tt.retried || (raw.Conns() == 2) != tt.retried {
				t.Errorf("retried: %v, want %v; %d connections", got, tt.retried, raw.Conns())
			}
			wantOwn(t, c, "/third")
			wantSound(t, c)
		})
	}
}

// TestNoSecondRetry: the fresh connection fails too; the request goes no further.
func TestNoSecondRetry(t *testing.T) {
	raw := apptest.Start(t, apptest.InTurn(
		[]apptest.Step{apptest.Expect(), apptest.Send(ok5), apptest.Expect(), apptest.Close()},
		[]apptest.Step{apptest.Expect(), apptest.Close()}))
	c := newClient(t, testConfig(raw.URL()))
	get(c, "/first")
	if a := get(c, "/second"); !errors.Is(a.err, ErrReset) {
		t.Fatalf("%+v", a)
	}
	if n := raw.Conns(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	if s := c.Stats(); s.Open != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMaxConnections(t *testing.T) {
	release := make(chan struct{})
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Wait(release), apptest.Send(ok5), apptest.Echo()))
	cfg := testConfig(raw.URL())
	cfg.MaxConnections = 2
	cfg.Timeouts.Connect = patience
	c := newClient(t, cfg, WithMaxWaiting(3))
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			if a := get(c, fmt.Sprint("/", i)); a.err != nil {
				t.Error(a.err)
			}
		})
	}
	until(t, "three requests wait", func() bool { return c.Stats().Waiting == 3 })
	if a := get(c, "/sixth"); !errors.Is(a.err, ErrNoConnection) {
		t.Errorf("above MaxWaiting: %+v", a)
	}
	close(release)
	wg.Wait()
	if s := c.Stats(); s.Open != 2 || s.Waiting != 0 || s.Dials != 2 || raw.Conns() != 2 {
		t.Errorf("%+v", s)
	}
}

func TestWaitingEnds(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Drain()))
	cfg := testConfig(raw.URL())
	cfg.MaxConnections = 1
	cfg.Timeouts.Connect = 100 * time.Millisecond // for the wait; the dial has more
	c := newClient(t, cfg, WithDial(func(_ context.Context, network, address string) (net.Conn, error) {
		return net.Dial(network, address)
	}))
	held := make(chan answer)
	go func() { held <- get(c, "/held") }()
	until(t, "the connection is open", func() bool { return raw.Conns() == 1 })
	if a := get(c, "/"); !errors.Is(a.err, ErrNoConnection) {
		t.Errorf("at the limit: %+v", a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var h fasthttp.ResponseHeader
	if _, err := c.Do(ctx, &Request{Head: reqHead("GET", "/")}, &h); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting: %v", err)
	}
	_ = c.Close()
	if a := <-held; !errors.Is(a.err, ErrReset) {
		t.Errorf("cut by Close: %+v", a)
	}
	if a := get(c, "/"); !errors.Is(a.err, ErrClosed) || !errors.Is(a.err, ErrNoConnection) {
		t.Errorf("after Close: %+v", a)
	}
}

// TestSlotOfFailedDial: a waiter must inherit the slot of a dial that fails.
func TestSlotOfFailedDial(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Echo()))
	gate := make(chan struct{})
	var once sync.Once
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		var err error
		once.Do(func() { <-gate; err = errors.New("no") })
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	cfg := testConfig(raw.URL())
	cfg.MaxConnections = 1
	c := newClient(t, cfg, WithDial(dial))
	first, second := make(chan answer), make(chan answer)
	go func() { first <- get(c, "/first") }()
	until(t, "the dial holds the slot", func() bool { return c.Stats().Open == 1 })
	go func() { second <- get(c, "/second") }()
	until(t, "the second waits", func() bool { return c.Stats().Waiting == 1 })
	close(gate)
	if a := <-first; !errors.Is(a.err, ErrConnect) {
		t.Errorf("first: %+v", a)
	}
	if a := <-second; a.err != nil || a.body != "/second" {
		t.Errorf("second: %+v", a)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Echo()))
	cfg := testConfig(raw.URL())
	cfg.Timeouts.Idle = 20 * time.Millisecond
	c := newClient(t, cfg)
	wantOwn(t, c, "/first")
	until(t, "the janitor closes it", func() bool { return c.Stats().Open == 0 })
	raw.Await(t, 0)
	wantOwn(t, c, "/second")
}

func TestShutdownWaits(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{})
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Signal(asked), apptest.Wait(release), apptest.Send(ok5), apptest.Drain()))
	c := newClient(t, testConfig(raw.URL()))
	held, down := make(chan answer), make(chan error)
	go func() { held <- get(c, "/held") }()
	<-asked
	go func() { down <- c.Shutdown(context.Background()) }()
	until(t, "the pool is closed", func() bool { return errors.Is(poolState(c), ErrClosed) })
	if a := get(c, "/"); !errors.Is(a.err, ErrClosed) {
		t.Errorf("during Shutdown: %+v", a)
	}
	close(release)
	if a := <-held; a.err != nil || a.body != "hello" || !a.complete {
		t.Errorf("the running request: %+v", a)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func poolState(c *Client) error {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.pool.closed {
		return ErrClosed
	}
	return nil
}

func TestShutdownCuts(t *testing.T) {
	asked := make(chan struct{})
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Signal(asked), apptest.Drain()))
	c := newClient(t, testConfig(raw.URL()))
	held := make(chan answer)
	go func() { held <- get(c, "/held") }()
	<-asked
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Shutdown(ctx); err != context.Canceled {
		t.Error(err)
	}
	if a := <-held; !errors.Is(a.err, ErrReset) {
		t.Errorf("%+v", a)
	}
}

func TestConnectFails(t *testing.T) {
	c := newClient(t, testConfig("unix://"+t.TempDir()+"/none"))
	if a := get(c, "/"); !errors.Is(a.err, ErrConnect) || !strings.Contains(a.err.Error(), "upstream.url") {
		t.Errorf("%+v", a)
	}
	if s := c.Stats(); s.Open != 0 || s.DialErrors != 1 {
		t.Errorf("%+v", s)
	}
}

func TestUnixSocketAndMemory(t *testing.T) {
	raw := apptest.StartUnix(t, apptest.Each(apptest.Echo()))
	c := newClient(t, testConfig(raw.URL()))
	for i := range 3 {
		wantOwn(t, c, fmt.Sprint("/", i))
	}
	if raw.Conns() != 1 {
		t.Errorf("%d connections over the Unix socket", raw.Conns())
	}

	ln := fasthttputil.NewInmemoryListener()
	srv := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.Path()) }}
	done := make(chan error)
	go func() { done <- srv.Serve(ln) }()
	cfg := testConfig("http://memory")
	cfg.Timeouts.Idle = time.Hour // a look that waited for it would not end
	mem := newClient(t, cfg, WithDial(
		func(context.Context, string, string) (net.Conn, error) { return ln.Dial() }))
	for i := range 3 {
		wantOwn(t, mem, fmt.Sprint("/", i))
	}
	_ = mem.Close()
	_ = ln.Close()
	<-done
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"ftp://app", `"ftp://app"`}, {"http://", "upstream.url"}, {"http://app/path", "nothing after it"},
		{"http://u:secret@app", "u:xxxxx@app"}, {"unix://host/path", "upstream.url"}, {"unix:///", "upstream.url"},
		{"http://app?x", "upstream.url"}, {"app:80", "upstream.url"}, {"http://a b", "upstream.url"},
	} {
		_, err := New(testConfig(tt.url))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", tt.url, err, tt.want)
		}
	}
	_, err := New(Config{URL: "http://app"})
	for _, want := range []string{"connect is 0s", "response_header is 0s", "idle is 0s", "max_connections is 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

// TestConcurrent has many goroutines share few connections, some of which die:
// each request gets its own answer or an error, never another's.
func TestConcurrent(t *testing.T) {
	raw := apptest.Start(t, func(n int) []apptest.Step {
		if n%3 == 2 {
			return []apptest.Step{apptest.Echo()}
		}
		steps := []apptest.Step{}
		for range n%5 + 1 {
			steps = append(steps, apptest.EchoOnce(""))
		}
		return append(steps, apptest.EchoOnce("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), apptest.Close())
	})
	cfg := testConfig(raw.URL())
	cfg.MaxConnections = 8
	c := newClient(t, cfg)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 200 {
				target := fmt.Sprintf("/%d/%d", g, i)
				if a := get(c, target); a.err != nil || a.bodyErr != nil || a.body != target {
					t.Errorf("GET %s: %+v", target, a)
				}
			}
		})
	}
	wg.Wait()
	wantSound(t, c)
	if s := c.Stats(); s.Open > 8 {
		t.Errorf("%+v", s)
	}
}

// TestNextIdleInPlaceOfStale: the newest pooled connection is dead, an older one
// lives; the dead one's slot must come free.
func TestNextIdleInPlaceOfStale(t *testing.T) {
	both := make(chan struct{})
	raw := apptest.Start(t, apptest.InTurn(
		[]apptest.Step{apptest.Expect(), apptest.Wait(both), apptest.Send(ok5), apptest.Echo()},
		[]apptest.Step{apptest.Expect(), apptest.Send(ok5), apptest.Close()}))
	c := newClient(t, testConfig(raw.URL()))
	first := make(chan answer)
	go func() { first <- get(c, "/1") }()
	until(t, "the first is connected", func() bool { return raw.Conns() == 1 })
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), &Request{Head: reqHead("GET", "/2")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	close(both)
	if a := <-first; a.err != nil {
		t.Fatal(a.err)
	}
	_, _ = io.ReadAll(body) // the second returns to the pool last
	raw.Await(t, 1)
	wantOwn(t, c, "/3")
	if s := c.Stats(); s.Open != 1 || s.Idle != 1 || s.Stale != 1 || s.Dials != 2 {
		t.Errorf("%+v", s)
	}
}

// dying is a connection that is idle when looked at, and then takes no request
// but has a response to read: a 408 that raced with the request.
type dying struct {
	net.Conn
	writes int
}

func (d *dying) Write(p []byte) (int, error) {
	if d.writes++; d.writes > 1 {
		return 0, syscall.EPIPE
	}
	return d.Conn.Write(p)
}

func (d *dying) Read(p []byte) (int, error) {
	if d.writes > 1 {
		return copy(p, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"), nil
	}
	return d.Conn.Read(p)
}

// TestNothingSentNothingAnswered: what a connection that took no byte of the
// request has to say, is no answer to it.
func TestNothingSentNothingAnswered(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Echo()))
	c := newClient(t, testConfig(raw.URL()), WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, address)
		return &dying{Conn: nc}, err
	}))
	wantOwn(t, c, "/first")
	wantOwn(t, c, "/second")
	if s := c.Stats(); s.Retries != 1 {
		t.Errorf("%+v", s)
	}
}
