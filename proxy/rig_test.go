package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// rig is a pod in front of an application, on a Redis.
type rig struct {
	t     testing.TB
	redis *redisproc.Server
	other rueidis.Client // another program on the same Redis
	app   *httptest.Server
	calls atomic.Int64 // requests that reached the application
	pods  []*pod
	rules []proxy.Rule
	cfg   proxy.ServerConfig
	up    upstream.Config
	// upstreams are further applications by name.
	upstreams map[string]upstream.Config
	// redisTimeout and staleness are long by default, since machines that run tests are
	// slow: such a one must not count as an outage. See hasty.
	redisTimeout time.Duration
	staleness    time.Duration
	fillTimeout  time.Duration
	purgeFrom    []string
	// via, when set, puts something between a pod and Redis: it gets the address of
	// Redis and gives the one that the pod is to use.
	via func(addr string) string
	// What some tests change of a pod: its settings, where its log goes, and the
	// connections to the application.
	settings func(*proxy.Settings)
	session  func(*sessioncheck.Config)
	log      zerolog.Logger
	dial     upstream.DialFunc
	next     fasthttp.RequestHandler // in place of the application behind a socket
	// quiet pods log nothing: the log of a fuzz target would grow with its runs.
	quiet bool
	// session, when set, is what pods have in place of the defaults.
	sessionConfig *sessioncheck.Config
	// tasks, when set, gets the tasks of responses.
	tasks *proxy.TaskField
	// accept, when set, puts something between a pod and its listener.
	accept func(net.Listener) net.Listener
	// pipes, when set, changes a handler before it serves.
	pipes func(*proxy.Handler)
	// handleOnly pods answer nothing directly.
	handleOnly bool
	// serving, when set, gets each server before it serves.
	serving func(*proxy.Server)
}

type pod struct {
	addr    string
	conn    *redisconn.Conn
	handler *proxy.Handler
	store   *cache.Store
	session *sessioncheck.Checker
	up      *upstream.Client
	server  *proxy.Server
}

func newRig(t testing.TB, list []proxy.Rule, app http.HandlerFunc, pods int) *rig {
	t.Helper()
	r := &rig{t: t, redis: redistest.Start(t), rules: list, cfg: proxy.DefaultServer(), up: upstream.Default(), redisTimeout: 5 * time.Second, staleness: 4 * time.Second, fillTimeout: 10 * time.Second,
		log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)}
	r.other = redistest.Client(t, r.redis)
	r.app = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.calls.Add(1)
		app(w, q)
	}))
	r.app.Config.DisableGeneralOptionsHandler = true
	r.app.Start()
	t.Cleanup(r.app.Close)
	r.up.URL = r.app.URL
	for range pods {
		r.addPod()
	}
	return r
}

// hasty has the pods made from now on notice an outage soon.
func (r *rig) hasty() { r.redisTimeout, r.staleness = time.Second, time.Second }

func (r *rig) addPod() *pod {
	r.t.Helper()
	cfg := redisconn.Default()
	cfg.URL = "redis://" + r.redis.Addr
	if r.via != nil {
		cfg.URL = "redis://" + r.via(r.redis.Addr)
	}
	cfg.Timeout, cfg.MaxStaleness = r.redisTimeout, r.staleness
	conn, err := redisconn.Open(cfg, 32<<20, zerolog.Nop(), redisconn.WithLayout(cache.Layout(cfg.Prefix)))
	must(r.t, err)
	r.t.Cleanup(conn.Close)
	scfg := sessioncheck.Default()
	if r.sessionConfig != nil {
		scfg = *r.sessionConfig
	}
	if r.session != nil {
		r.session(&scfg)
	}
	users := sessioncheck.NewUsers(scfg, conn, false, zerolog.Nop())
	sessions, err := sessioncheck.New(scfg, conn, zerolog.Nop(), sessioncheck.WithStaleness(cfg.MaxStaleness), sessioncheck.WithUsers(users))
	must(r.t, err)
	var opts []upstream.Option
	if r.dial != nil {
		opts = append(opts, upstream.WithDial(r.dial))
	}
	up, err := upstream.New(r.up, opts...)
	must(r.t, err)
	r.t.Cleanup(func() { _ = up.Close() })
	others := map[string]*upstream.Client{}
	for name, cfg := range r.upstreams {
		others[name], err = upstream.New(cfg)
		must(r.t, err)
		r.t.Cleanup(func() { _ = others[name].Close() })
	}
	r.t.Cleanup(sessions.Close)
	store := cache.NewStore(conn, cache.Default().MaxTTL)
	log := r.log
	if r.quiet {
		log = zerolog.Nop()
	}
	h, err := proxy.New(proxy.Deps{Sessions: sessions, Lifecycle: sessioncheck.NewLifecycle(users), Tasks: r.tasks, Store: store, Upstream: up, Upstreams: others, Next: r.next, Log: log}, r.podSettings())
	must(r.t, err)
	if r.pipes != nil {
		r.pipes(h)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(r.t, err)
	if r.accept != nil {
		ln = r.accept(ln)
	}
	srv := proxy.NewServer(h, r.cfg, zerolog.Nop())
	if r.handleOnly {
		srv.HandleOnly()
	}
	if r.serving != nil {
		r.serving(srv)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		h.Shutdown(ctx)
		<-done
	})
	p := &pod{addr: ln.Addr().String(), conn: conn, handler: h, store: store, up: up, session: sessions, server: srv}
	r.pods = append(r.pods, p)
	return p
}

// podSettings gives what a pod is made with.
func (r *rig) podSettings() proxy.Settings {
	s := proxy.Settings{Server: r.cfg, Rules: r.rules, MaxObject: 1 << 20, MaxTTL: time.Hour, FillTimeout: r.fillTimeout, RetryAfter: time.Second,
		Keep: time.Hour, TagFields: cache.Default().TagFields, Targets: []string{"CDN-Cache-Control"}, PurgeFrom: r.purgeFrom}
	if r.settings != nil {
		r.settings(&s)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reply is a response with its body read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) cacheStatus() string { return strings.Join(r.header.Values("Cache-Status"), ", ") }

func (p *pod) do(t testing.TB, method, path string, header ...string) reply {
	t.Helper()
	return p.send(t, method, path, nil, header...)
}

func (p *pod) send(t testing.TB, method, path string, body io.Reader, header ...string) reply {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+p.addr+path, body)
	must(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := transport().RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// transport adds nothing to a request and keeps no connection.
func transport() *http.Transport {
	return &http.Transport{DisableCompression: true, DisableKeepAlives: true}
}

// raw sends bytes and reads one response, on a connection of its own.
func (p *pod) raw(t testing.TB, request string) reply {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, request)
	must(t, err)
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the response to %.200q: %v", request, err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.Close { // net/http has taken the field away
		resp.Header.Set("Connection", "close")
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

func (r *rig) setSession(id, json string) {
	r.t.Helper()
	must(r.t, r.other.Do(context.Background(), r.other.B().Set().Key("session:"+id).Value(json).ExSeconds(3600).Build()).Error())
}

func (r *rig) del(key string) {
	r.t.Helper()
	must(r.t, r.other.Do(context.Background(), r.other.B().Del().Key(key).Build()).Error())
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(time.Millisecond) // polling with a bound
	}
}

func rule(name, path string, change ...func(*proxy.Rule)) proxy.Rule {
	r := proxy.Rule{Name: name, Match: rules.Match{Path: path}, Session: sessioncheck.Policy{Mode: sessioncheck.ModeNone}}
	for _, f := range change {
		f(&r)
	}
	return r
}

func ttl(d time.Duration) func(*proxy.Rule) { return func(r *proxy.Rule) { r.Cache.TTL = d } }

func required(r *proxy.Rule) { r.Session.Mode = sessioncheck.ModeRequired }

func echo(w http.ResponseWriter, q *http.Request) {
	fmt.Fprintf(w, "%s %s user=%s", q.Method, q.URL.RequestURI(), q.Header.Get("X-User-Id"))
}

func varied(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Content-Type", "application/json")
	if q.URL.Path == "/vary" {
		w.Header().Set("Vary", "Accept-Encoding")
	}
	echo(w, q)
}
