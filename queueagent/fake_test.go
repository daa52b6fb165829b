package queueagent

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/internal/redistest"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// fakeRedis is the least that satisfies Redis.
type fakeRedis struct {
	client   rueidis.Client
	tracking bool
	isDown   atomic.Bool
	mu       sync.Mutex
	watchers map[string][]chan struct{}
}

func newFake(addr string, tracking bool, change ...func(*rueidis.ClientOption)) (*fakeRedis, error) {
	f := &fakeRedis{tracking: tracking, watchers: make(map[string][]chan struct{})}
	opt := rueidis.ClientOption{
		InitAddress: []string{addr}, ForceSingleClient: true, DisableRetry: true, DisableCache: !tracking,
		PipelineMultiplex: -1, AlwaysPipelining: true, ConnWriteTimeout: 10 * time.Second,
		Dialer: net.Dialer{Timeout: 10 * time.Second, KeepAlive: 500 * time.Millisecond},
	}
	if tracking {
		opt.OnInvalidations = f.invalidated
	}
	for _, c := range change {
		c(&opt)
	}
	var err error
	f.client, err = rueidis.NewClient(opt)
	return f, err
}

func (f *fakeRedis) invalidated(msgs []rueidis.RedisMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if msgs == nil {
		for _, ws := range f.watchers {
			for _, w := range ws {
				poke(w)
			}
		}
	}
	for _, m := range msgs {
		key, _ := m.ToString()
		for _, w := range f.watchers[key] {
			poke(w)
		}
	}
}

func (f *fakeRedis) Client() rueidis.Client { return f.client }
func (f *fakeRedis) Up() bool               { return !f.isDown.Load() }
func (f *fakeRedis) Tracking() bool         { return f.tracking }

func (f *fakeRedis) Watch(key string) (<-chan struct{}, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan struct{}, 1)
	f.watchers[key] = append(f.watchers[key], c)
	return c, func() {}
}

// rig is a Redis with a client that looks at it from outside.
type rig struct {
	tb    testing.TB
	srv   *redisproc.Server
	redis *fakeRedis
	c     rueidis.Client
}

func newRig(tb testing.TB, tracking bool, args ...string) *rig {
	tb.Helper()
	srv := redistest.Start(tb, args...)
	f, err := newFake(srv.Addr, tracking)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(f.client.Close)
	return &rig{tb, srv, f, redistest.Client(tb, srv)}
}

// do runs a command, given as words.
func (r *rig) do(args ...string) rueidis.RedisResult {
	r.tb.Helper()
	return redistest.Do(r.tb, r.c, args...)
}

func (r *rig) int(args ...string) int64 {
	r.tb.Helper()
	return redistest.Int(r.tb, r.c, args...)
}

// store makes the store of a queue called q, as agent's process.
func (r *rig) store(agent string, kind tasks.Kind, source string, lease time.Duration) *tasks.Store {
	r.tb.Helper()
	cfg := testConfig("q", kind, source, "http://127.0.0.1:1/")
	cfg.Lease = lease
	a, err := New([]Config{cfg}, r.redis, "t:", agent, zerolog.Nop())
	if err != nil {
		r.tb.Fatal(err)
	}
	return a.queues[0].store
}

func testConfig(name string, kind tasks.Kind, source, url string) Config {
	cfg := Default()
	cfg.Name, cfg.Webhook.URL = name, url
	switch kind {
	case tasks.List:
		cfg.List = source
	case tasks.Delay:
		cfg.Delay = source
	case tasks.Stream:
		cfg.Stream = source
	}
	cfg.Webhook.Timeout = 20 * time.Second
	cfg.Retry.Min, cfg.Retry.Max = 10*time.Millisecond, 50*time.Millisecond
	return cfg
}

// run starts an agent; the test ends it.
func (r *rig) run(cfgs []Config, opts ...Option) *Agent {
	r.tb.Helper()
	return r.runAs("agent-1", cfgs, opts...)
}

func (r *rig) runAs(id string, cfgs []Config, opts ...Option) *Agent {
	r.tb.Helper()
	a, err := New(cfgs, r.redis, "t:", id, zerolog.New(zerolog.NewTestWriter(r.tb)).Level(zerolog.WarnLevel), opts...)
	if err != nil {
		r.tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(context.Background()) }()
	r.tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = a.Shutdown(ctx)
		if err := <-done; err != nil {
			r.tb.Log(err)
		}
	})
	return a
}

// post is one delivery as the application saw it.
type post struct {
	path, body string
	header     map[string]string
	at         time.Time
}

// sink is an application that receives webhooks.
type sink struct {
	url    string
	mu     sync.Mutex
	posts  []post
	answer func(*fasthttp.RequestCtx)
	server *fasthttp.Server
}

// newSink answers 200 unless answer says otherwise.
func newSink(tb testing.TB, answer func(*fasthttp.RequestCtx)) *sink {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &sink{answer: answer}
	s.serve(tb, ln)
	return s
}

func (s *sink) serve(tb testing.TB, ln net.Listener) {
	s.url = "http://" + ln.Addr().String()
	s.server = &fasthttp.Server{
		Handler: s.handle, CloseOnShutdown: true, DisableHeaderNamesNormalizing: true,
		MaxRequestBodySize: 64 << 20, Logger: noLog{},
	}
	srv, done := s.server, make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.ShutdownWithContext(ctx)
		_ = ln.Close()
		<-done
	})
}

type noLog struct{}

func (noLog) Printf(string, ...any) {}

func (s *sink) handle(ctx *fasthttp.RequestCtx) {
	p := post{path: string(ctx.RequestURI()), body: string(ctx.Request.Body()), header: make(map[string]string), at: time.Now()}
	for k, v := range ctx.Request.Header.All() {
		p.header[string(k)] = string(v)
	}
	s.mu.Lock()
	s.posts = append(s.posts, p)
	s.mu.Unlock()
	if s.answer != nil {
		s.answer(ctx)
	}
}

func (s *sink) seen() []post {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]post(nil), s.posts...)
}

// patience bounds what is certain to happen, but may take long on a busy machine.
const patience = time.Minute

// eventually polls until ok.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	tb.Fatalf("not within %s: %s", patience, what)
}

func taskJSON(n int) string { return fmt.Sprintf(`{"type":"t","data":%d}`, n) }

// wantEmpty fails when a queue holds anything but its last claim.
func (r *rig) wantEmpty(s *tasks.Store) {
	r.tb.Helper()
	for _, k := range []string{s.Keys.Source, s.Keys.Records, s.Keys.Leases, s.Keys.Retry} {
		if r.int("EXISTS", k) != 0 {
			r.tb.Errorf("%s is left", k)
		}
	}
}

func mustClaim(t *testing.T, s *tasks.Store, seq uint64, n int) tasks.Claimed {
	t.Helper()
	got, err := s.Claim(context.Background(), seq, n)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantDead fails unless there is one dead letter of that kind.
func (r *rig) wantDead(s *tasks.Store, reason, payload string) {
	r.tb.Helper()
	dead, err := r.do("XRANGE", s.Keys.Dead, "-", "+").AsXRange()
	if err != nil || len(dead) != 1 {
		r.tb.Fatalf("%d dead letters, %v: want 1", len(dead), err)
	}
	if f := dead[0].FieldValues; f["reason"] != reason || f["payload"] != payload || f["id"] == "" {
		r.tb.Errorf("the dead letter is %v", f)
	}
}
