package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/splice"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/pillion-proxy/pillion/units"
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
	// OnMissing is the answer to a request without the session that it needs, unless its
	// rule has another.
	OnMissing sessioncheck.OnMissing
	// CORSOrigins are the origins whose scripts may read a 401, 403 or 503.
	CORSOrigins []string
	// Access says which requests are logged: off, errors, sampled or all.
	Access string
	// Sample is the share of the requests without an error that sampled logs.
	Sample units.Percent
}

// Deps are what a Handler works with. Their owner closes them.
type Deps struct {
	Sessions *sessioncheck.Checker
	// Lifecycle is nil when the application keeps its sessions itself.
	Lifecycle *sessioncheck.Lifecycle
	// Tasks is nil when responses of the application add no tasks to queues.
	Tasks    *TaskField
	Store    *cache.Store
	Upstream *upstream.Client        // the application behind a socket, or
	Next     fasthttp.RequestHandler // the application in this process
	// Upstreams are the further applications that rules name.
	Upstreams map[string]*upstream.Client
	Log       zerolog.Logger
}

// Handler answers requests. It is safe for concurrent use.
type Handler struct {
	sessions  *sessioncheck.Checker
	lifecycle *sessioncheck.Lifecycle
	tasks     *TaskField // nil: off
	store     *cache.Store
	origin    origin                     // of the rules that name none
	origins   map[string]*upstreamOrigin // of those that do
	log       zerolog.Logger
	snap      atomic.Pointer[snapshot]
	prefix    string
	pool      sync.Pool
	calls     sync.Pool
	pieces    pieces
	pipes     *splice.Pipes
	// moveToLocal uses pipes for clients on this machine, too: tests have no others.
	moveToLocal bool
	flights     flights
	tunnels     tunnels
	fills       sync.WaitGroup // goroutines that collect bodies or refresh
	soon        soon
	refreshes   chan struct{} // one element for each refresh under way
	passes      passList
	stats       *Stats
	shards      atomic.Uint32
	once        *redisconn.Decoded // a once
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
	retryAfter         time.Duration
	cors               corsOrigins
	access             accessMode
	sample             float64
	requestID          string // the field's name in lower case; empty for no ids
	requestTwin        string // with hyphens for underscores
	requestField       []byte // as it is written
	maxBody            int64  // the largest that any rule allows
	// sometimesCached says that a rule with a cache matches some GETs of a URL and not
	// others, by their header.
	sometimesCached bool
	trusted         []netip.Prefix
	purgeFrom       []netip.Prefix
}

// route is a rule, compiled.
type route struct {
	name    string
	session *sessioncheck.CompiledPolicy
	cache   cache.Policy
	tags    []*cache.TagTemplate
	filter  *cache.QueryFilter
	bypass  *cache.BypassFilter // nil when no condition is set

	rewrite      Rewrite
	requestEdit  *requestEdit  // nil when nothing is changed
	responseEdit *responseEdit // likewise
	maxBody      int64
	allow        oddity
	missing      *redirect // nil: 401
	csrf         *csrf     // nil: off

	// dressed says that the rule changes fields that only the answer itself has.
	dressed bool
	// verbatim is the form of the entries that this route serves as they are stored.
	verbatim form
	shared   *redisconn.Decoded // verbatim

	// What the application of the rule brings with it.
	origin      origin
	upstream    string        // its name in metrics
	fillTimeout time.Duration // Settings.FillTimeout, or its own
	untilClose  bool          // Settings.UntilClose, or its own
}

// New makes a handler. The error lists what is wrong with the rules.
func New(d Deps, s Settings) (*Handler, error) {
	h := &Handler{sessions: d.Sessions, lifecycle: d.Lifecycle, tasks: d.Tasks, store: d.Store, prefix: d.Store.Prefix(), log: d.Log, stats: newStats(), pipes: splice.New(maxPipes, splice.System)}
	h.calls.New = func() any { return newCall(&h.calls) }
	if d.Next != nil {
		h.origin = &handlerOrigin{d.Next}
	} else {
		h.origin = &upstreamOrigin{d.Upstream}
	}
	h.origins = make(map[string]*upstreamOrigin, len(d.Upstreams))
	for name, client := range d.Upstreams {
		h.origins[name] = &upstreamOrigin{client}
	}
	h.once = redisconn.NewDecoded(once{})
	h.pool.New = func() any { return &exchange{h: h, shard: int(h.shards.Add(1)), lean: new(stored)} }
	h.flights.init()
	h.tunnels.init()
	h.soon.init()
	h.refreshes = make(chan struct{}, maxRefreshes)
	return h, h.Apply(s)
}

// Apply swaps in new settings. On an error the old ones stay.
func (h *Handler) Apply(s Settings) error {
	snap, err := h.compile(s)
	if err != nil {
		return err
	}
	h.snap.Store(snap)
	return nil
}

func (h *Handler) compile(s Settings) (*snapshot, error) {
	snap := &snapshot{
		server: s.Server, maxObject: s.MaxObject, maxTTL: s.MaxTTL, keep: s.Keep,
		targets: s.Targets, tagFields: s.TagFields, noVarySearch: s.NoVarySearch, statusKey: s.StatusKey,
		retryAfter: s.RetryAfter, access: accessModeOf(s.Access), sample: s.Sample.Fraction(),
		requestID: strings.ToLower(s.Server.RequestID), requestTwin: normalField(s.Server.RequestID),
		requestField: []byte(s.Server.RequestID), maxBody: int64(s.Server.MaxBody),
	}
	snap.cors = newCORS(s.CORSOrigins)
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
		if snap.routes[i], err = h.compileRoute(&s, &s.Rules[i], snap.table.ParamNames(i)); err != nil {
			return nil, fmt.Errorf("rules[%d] %q: %w", i, s.Rules[i].Name, err)
		}
		snap.maxBody = max(snap.maxBody, snap.routes[i].maxBody)
		snap.routes[i].settle(snap)
		snap.sometimesCached = snap.sometimesCached || s.Rules[i].sometimes()
	}
	if snap.unmatched, err = h.compileRoute(&s, &Rule{Name: "unmatched"}, nil); err != nil {
		return nil, err
	}
	snap.unmatched.settle(snap)
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

func (h *Handler) compileRoute(s *Settings, r *Rule, params []string) (route, error) {
	out := route{name: r.Name, cache: r.Cache}
	err := h.setOrigin(&out, s, r)
	if err != nil {
		return out, err
	}
	if err = out.compileOwn(r, params); err != nil {
		return out, err
	}
	if out.maxBody == 0 {
		out.maxBody = int64(s.Server.MaxBody)
	}
	if out.session, err = sessioncheck.CompilePolicy(r.Session); err != nil {
		return out, err
	}
	if out.missing, err = compileMissing(&s.OnMissing, out.session); err != nil {
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

// sometimes says that routeOfGet does not tell for which requests this rule's cache is.
func (r *Rule) sometimes() bool {
	m := &r.Match
	return r.Cache.Mode != cache.ModeOff && (len(m.Headers) > 0 ||
		slices.Contains(m.Methods, fasthttp.MethodHead) && !slices.Contains(m.Methods, fasthttp.MethodGet))
}

// settle completes a route in its place in the snapshot.
func (out *route) settle(snap *snapshot) {
	out.verbatim = form{snap: snap, route: out}
	out.shared = redisconn.NewDecoded(&out.verbatim)
	if e := out.responseEdit; e != nil {
		for _, name := range e.drop {
			out.dressed = out.dressed || foldEqualFold(name, snap.requestID) || foldEqualFold(name, "Age") ||
				foldEqualFold(name, "Cache-Status") || foldEqualFold(name, "Content-Length")
		}
	}
}

// compileOwn compiles what CheckRule checks.
func (out *route) compileOwn(r *Rule, params []string) error {
	known := make(map[string]bool)
	for _, name := range params {
		known[name] = true
	}
	if problems := CheckRule(r, known); len(problems) > 0 {
		return problemsError(problems)
	}
	out.rewrite, out.maxBody = r.Rewrite, int64(r.MaxBody)
	out.requestEdit, out.responseEdit = compileRequestEdit(&r.RequestHeaders), compileResponseEdit(&r.ResponseHeaders)
	out.csrf = compileCSRF(&r.CSRF)
	for _, word := range r.Allow {
		out.allow |= oddities()[word]
	}
	return nil
}

// MainUpstream is the name of the main application in metrics.
const MainUpstream = "default"

// setOrigin finds the application of a rule.
func (h *Handler) setOrigin(out *route, s *Settings, r *Rule) error {
	out.origin, out.upstream, out.fillTimeout, out.untilClose = h.origin, MainUpstream, s.FillTimeout, s.UntilClose
	if r.Upstream == "" {
		return nil
	}
	o, ok := h.origins[r.Upstream]
	if !ok {
		return fmt.Errorf("upstream: %q is not in upstreams: add it there, or name another", r.Upstream)
	}
	cfg := o.client.Config()
	out.origin, out.upstream, out.fillTimeout, out.untilClose = o, r.Upstream, cfg.Timeouts.ResponseHeader, cfg.UntilClose
	return nil
}

// trusts says whether what this peer says about whom it speaks for is believed. A
// peer on a Unix socket is on this machine, as one with a loopback address is.
func (s *snapshot) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
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
