// Package pillion is a sidecar for HTTP applications: it caches GETs in memory,
// coherent on every pod, checks sessions without a Redis round trip per request,
// and drains Redis queues into webhook calls.
//
// A program of its own runs it with Run. A Go program can also mount it around a
// handler in the same process, with Handler: then there is no upstream socket.
// Several can run in one process; nothing is global.
package pillion

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// Off, as a listen address, opens no listener.
const Off = "off"

// Pillion is one sidecar. Its methods are safe for concurrent use.
type Pillion struct {
	log      zerolog.Logger
	version  string
	agentID  string
	redis    *redisconn.Conn
	sessions *sessioncheck.Checker
	users    *sessioncheck.Users // nil when nothing is recorded of them
	store    *cache.Store
	upstream *upstream.Client
	// upstreams are the further applications by name.
	upstreams map[string]*upstream.Client
	queues    *queueagent.Agent
	metrics   *prometheus.Registry

	mu        sync.Mutex // guards what follows
	cfg       Config
	handlers  []*proxy.Handler // the first is the one of Serve and Run
	servers   []*proxy.Server
	listeners []net.Listener
	ready     atomic.Bool
	started   atomic.Bool
	draining  atomic.Bool
	reloads   reloadState

	background sync.WaitGroup
	stop       context.CancelFunc
	ctx        context.Context
	closeOnce  sync.Once
}

// Option changes how New makes a Pillion.
type Option func(*Pillion)

// WithLogger sets the logger. Without it nothing is logged.
func WithLogger(log zerolog.Logger) Option { return func(p *Pillion) { p.log = log } }

// WithAgentID sets the identity under which queue tasks are leased. It should stay
// the same over restarts of one pod and differ between pods; then a restarted agent
// takes its leases back at once. Without it, it is the host name.
func WithAgentID(id string) Option { return func(p *Pillion) { p.agentID = id } }

// WithVersion sets the version that metrics show.
func WithVersion(v string) Option { return func(p *Pillion) { p.version = v } }

// New makes a Pillion from a configuration, as Load or Default give it. It connects
// to Redis in the background: a Redis that is down is no error. Shutdown releases
// what it holds. The error is about the configuration.
func New(cfg Config, opts ...Option) (*Pillion, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Pillion{log: zerolog.Nop(), version: "unknown", cfg: cfg, metrics: prometheus.NewRegistry()}
	for _, o := range opts {
		o(p)
	}
	if p.agentID == "" {
		p.agentID, _ = os.Hostname()
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	if err := p.build(cfg); err != nil {
		return nil, errors.Join(err, p.Shutdown(context.Background()))
	}
	return p, nil
}

// build makes the parts, each with what it needs and no more.
func (p *Pillion) build(cfg Config) (err error) {
	if p.redis, err = redisconn.Open(cfg.Redis, int64(cfg.Cache.Memory), p.log, redisconn.WithLayout(cache.Layout(cfg.Redis.Prefix))); err != nil {
		return err
	}
	p.users = sessioncheck.NewUsers(cfg.Session, p.redis, len(cfg.Redis.Cluster) > 0, p.log)
	if p.sessions, err = sessioncheck.New(cfg.Session, p.redis, p.log, sessioncheck.WithFields(sessionFields(cfg.Rules)...), sessioncheck.WithStaleness(cfg.Redis.MaxStaleness), sessioncheck.WithUsers(p.users)); err != nil {
		return err
	}
	p.store = cache.NewStore(p.redis, cfg.Cache.MaxTTL)
	if err = p.openUpstreams(cfg); err != nil {
		return err
	}
	if len(cfg.Queues) > 0 {
		if p.queues, err = queueagent.New(p.placedQueues(cfg), p.redis, cfg.Redis.Prefix, p.agentID, p.log); err != nil {
			return err
		}
	}
	if _, err = p.newHandler(nil); err != nil {
		return err
	}
	return p.registerMetrics()
}

func (p *Pillion) newHandler(next fasthttp.RequestHandler) (*proxy.Handler, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, err := proxy.New(proxy.Deps{
		Sessions: p.sessions, Lifecycle: sessioncheck.NewLifecycle(p.users), Tasks: p.taskField(), Store: p.store, Upstream: p.upstream, Upstreams: p.upstreams, Next: next, Log: p.log,
	}, settings(p.cfg))
	if err == nil {
		p.handlers = append(p.handlers, h)
	}
	return h, err
}

// sessionFields lists the fields that rules ask for, so that a session is decoded
// for all of them once.
func sessionFields(rules []proxy.Rule) []string {
	var fields []string
	for i := range rules {
		for field := range rules[i].Session.Require {
			fields = append(fields, field)
		}
		fields = append(fields, rules[i].Cache.Key.Session...)
		fields = append(fields, rules[i].SessionFields()...)
		for _, tag := range rules[i].Cache.Tags {
			if t, err := cache.CompileTag(tag); err == nil {
				fields = append(fields, t.SessionFields()...)
			}
		}
	}
	return fields
}

func settings(cfg Config) proxy.Settings {
	return proxy.Settings{
		Server: cfg.Server, Rules: cfg.Rules,
		MaxObject: int64(cfg.Cache.MaxObject), MaxTTL: cfg.Cache.MaxTTL,
		Keep: cfg.Cache.Keep, Targets: cfg.Cache.Targets, TagFields: cfg.Cache.TagFields,
		NoVarySearch: cfg.Cache.NoVarySearch, StatusKey: cfg.Cache.StatusKey, UntilClose: cfg.Upstream.UntilClose, PurgeFrom: cfg.Cache.PurgeFrom,
		FillTimeout: cfg.Upstream.Timeouts.ResponseHeader, RetryAfter: cfg.Session.RetryAfter,
		OnMissing: cfg.Session.OnMissing, CORSOrigins: cfg.Session.CORSOrigins,
		Access: cfg.Log.Access, Sample: cfg.Log.Sample,
	}
}

// Handler mounts pillion around a handler in this process: the answers that next
// gives are cached and its routes protected by the same rules. Use it in a
// fasthttp.Server of your own, with NoDefaultDate set if next sends a Date.
// Start must have been called for sliding sessions, queues and the admin listener.
func (p *Pillion) Handler(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	h, err := p.newHandler(next)
	if err != nil {
		// The same settings were compiled in New, and Reload refuses bad ones.
		return func(ctx *fasthttp.RequestCtx) { ctx.Error(err.Error(), fasthttp.StatusInternalServerError) }
	}
	return h.Handle
}

// Serve answers requests on the listener, from the upstream of the configuration,
// until Shutdown. It returns nil then.
func (p *Pillion) Serve(ln net.Listener) error {
	p.mu.Lock()
	if p.draining.Load() {
		p.mu.Unlock()
		return errors.Join(errors.New("pillion: Serve after Shutdown"), ln.Close())
	}
	secure, err := p.cfg.Server.TLS.Config()
	if err != nil {
		p.mu.Unlock()
		return errors.Join(err, ln.Close())
	}
	srv := proxy.NewServer(p.handlers[0], p.cfg.Server, p.log)
	p.servers = append(p.servers, srv)
	p.listeners = append(p.listeners, ln)
	p.mu.Unlock()
	if secure != nil {
		ln = tls.NewListener(ln, secure)
	}
	err = srv.Serve(ln)
	if p.draining.Load() {
		return nil
	}
	return err
}

// listen opens a TCP address, or a Unix socket written as "unix:/path".
func listen(addr string) (net.Listener, error) {
	path, ok := strings.CutPrefix(addr, "unix:")
	if !ok {
		return net.Listen("tcp", addr)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: another process answers there", addr)
	}
	_ = os.Remove(path) // left behind by a process that was killed
	return net.Listen("unix", path)
}
