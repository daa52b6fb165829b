package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

var errHTTP10Body = errors.New("the response is too large to hold for an HTTP/1.0 client")

// Settings is what a reload can change without a restart.
type Settings struct {
	Server ServerConfig
	Rules  []Rule
	// MaxObject is the largest body that is stored, in bytes, and MaxTTL the longest
	// lifetime.
	MaxObject int64
	MaxTTL    time.Duration
	// Keep is for how long what can be validated is kept beyond its lifetime.
	Keep time.Duration
	// Targets are the names of the targeted fields that replace Cache-Control
	// (RFC 9213), and TagFields those of the fields that hold surrogate tags.
	Targets, TagFields []string
	// NoVarySearch puts No-Vary-Search to use.
	NoVarySearch bool
	// UntilClose stores responses that end with their connection.
	UntilClose bool
	// StatusKey shows public keys in Cache-Status.
	StatusKey bool
	// PurgeFrom lists the networks (CIDR) that may use the PURGE method; with none,
	// PURGE is the application's.
	PurgeFrom []string
	// FillTimeout bounds a request's whole wait for the application: for another
	// request's fill and for its own.
	FillTimeout time.Duration
	// RetryAfter is what a 503 tells the client to wait when the session cannot be
	// checked.
	RetryAfter time.Duration
	// Access says which requests are logged: off, errors or all.
	Access string
}

// Deps are what a Handler works with. Their owner closes them.
type Deps struct {
	Sessions *sessioncheck.Checker
	Store    *cache.Store
	Upstream *upstream.Client        // the application behind a socket, or
	Next     fasthttp.RequestHandler // the application in this process
	Log      zerolog.Logger
}

// Handler answers requests. It is safe for concurrent use.
type Handler struct {
	sessions  *sessioncheck.Checker
	store     *cache.Store
	origin    origin
	log       zerolog.Logger
	snap      atomic.Pointer[snapshot]
	prefix    string
	pool      sync.Pool
	calls     sync.Pool
	flights   flights
	tunnels   tunnels
	fills     sync.WaitGroup // goroutines that collect bodies or refresh
	refreshes chan struct{}  // one element for each refresh under way
	passes    passList
	stats     *Stats
	shards    atomic.Uint32
}

// snapshot is one generation of the settings, immutable. A request loads it once,
// so that it never mixes two.
type snapshot struct {
	table              *rules.Table
	routes             []route
	unmatched          route
	server             ServerConfig
	maxObject          int64
	maxTTL             time.Duration
	keep               time.Duration
	targets, tagFields []string
	noVarySearch       bool
	statusKey          bool
	untilClose         bool
	fillTimeout        time.Duration
	retryAfter         time.Duration
	access             string
	trusted            []netip.Prefix
	purgeFrom          []netip.Prefix
}

// route is a rule, compiled.
type route struct {
	name    string
	session *sessioncheck.CompiledPolicy
	cache   cache.Policy
	tags    []*cache.TagTemplate
	filter  *cache.QueryFilter
	bypass  *cache.BypassFilter // nil when no condition is set
}

// New makes a handler. The error lists what is wrong with the rules.
func New(d Deps, s Settings) (*Handler, error) {
	h := &Handler{sessions: d.Sessions, store: d.Store, prefix: d.Store.Prefix(), log: d.Log, stats: newStats()}
	h.calls.New = func() any { return newCall(&h.calls) }
	if d.Next != nil {
		h.origin = &handlerOrigin{d.Next}
	} else {
		h.origin = &upstreamOrigin{d.Upstream}
	}
	h.pool.New = func() any { return &exchange{h: h, shard: int(h.shards.Add(1))} }
	h.flights.init()
	h.tunnels.init()
	h.refreshes = make(chan struct{}, maxRefreshes)
	return h, h.Apply(s)
}

// Apply swaps in new settings. On an error the old ones stay.
func (h *Handler) Apply(s Settings) error {
	snap, err := compile(s)
	if err != nil {
		return err
	}
	h.snap.Store(snap)
	return nil
}

func compile(s Settings) (*snapshot, error) {
	snap := &snapshot{
		server: s.Server, maxObject: s.MaxObject, maxTTL: s.MaxTTL, keep: s.Keep,
		targets: s.Targets, tagFields: s.TagFields, noVarySearch: s.NoVarySearch, statusKey: s.StatusKey, untilClose: s.UntilClose, fillTimeout: s.FillTimeout,
		retryAfter: s.RetryAfter, access: s.Access,
	}
	matches := make([]rules.Match, len(s.Rules))
	for i := range s.Rules {
		matches[i] = s.Rules[i].Match
	}
	var err error
	if snap.table, err = rules.Compile(matches); err != nil {
		return nil, err
	}
	snap.routes = make([]route, len(s.Rules))
	for i := range s.Rules {
		if snap.routes[i], err = compileRoute(&s.Rules[i]); err != nil {
			return nil, fmt.Errorf("rules[%d] %q: %w", i, s.Rules[i].Name, err)
		}
	}
	if snap.unmatched, err = compileRoute(&Rule{Name: "unmatched"}); err != nil {
		return nil, err
	}
	if snap.trusted, err = networks("server.trusted_proxies", s.Server.TrustedProxies); err != nil {
		return nil, err
	}
	if snap.purgeFrom, err = networks("cache.purge_from", s.PurgeFrom); err != nil {
		return nil, err
	}
	return snap, nil
}

func networks(setting string, cidrs []string) (list []netip.Prefix, err error) {
	for _, cidr := range cidrs {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a network: write it as 10.0.0.0/8", setting, cidr)
		}
		list = append(list, p)
	}
	return list, nil
}

func compileRoute(r *Rule) (route, error) {
	out := route{name: r.Name, cache: r.Cache}
	var err error
	if out.session, err = sessioncheck.CompilePolicy(r.Session); err != nil {
		return out, err
	}
	for _, t := range r.Cache.Tags {
		tpl, err := cache.CompileTag(t)
		if err != nil {
			return out, err
		}
		out.tags = append(out.tags, tpl)
	}
	if out.filter, err = cache.CompileQuery(r.Cache.Query); err != nil {
		return out, err
	}
	out.bypass, err = cache.CompileBypass(r.Cache.Bypass)
	return out, err
}

// trusts says whether what this peer says about whom it speaks for is believed. A
// peer on a Unix socket is on this machine by definition.
func (s *snapshot) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	for _, p := range s.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (x *exchange) matchRequest() rules.Request {
	return rules.Request{Method: x.method, Host: x.host, Path: x.path, RawQuery: x.query, Headers: x}
}
